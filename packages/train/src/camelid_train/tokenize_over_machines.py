"""Tokenising a recipe's training rows on several machines before the run reads them.

Knows the token cache: its shards are named by what they hold, so each machine makes every n-th one, and the run, which
goes through all rows as ever, finds them. Whoever made a shard, and whether twice, the rows are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from camelid_core.errors import ConfigError
from camelid_core.jobs.pieces import Piece, run_in_pieces
from camelid_core.tasks import Interrupted, TaskContext

if TYPE_CHECKING:
    from camelid_train.config import Recipe

_TARGET = "camelid_train.tokenize_over_machines:run_here"


def tokenize(recipe: Recipe, context: TaskContext) -> None:
    """Fill the token cache with the recipe's training rows, in `launch.shards` pieces.

    Raises:
        ConfigError: the objective reads rows in a way of its own.
        UsageError: the executor divides no jobs.
        Interrupted: asked to save; what was tokenised is kept.
        CamelidError: the rows cannot be read.
    """
    if recipe.objective.type != "sft":
        raise ConfigError(f"launch.shards is for objective.type='sft', and this is {recipe.objective.type!r}.")
    count, values = recipe.launch.shards, recipe.model_dump(mode="json")
    context.emit("log", text=f"The rows are tokenised in {count} parts.")
    pieces = [Piece(f"tokens-{n}", _TARGET, {"recipe": values, "number": n, "of": count}) for n in range(count)]
    summaries = run_in_pieces(recipe.launch.executor, pieces, context, lambda: None)
    made = sum(summary["rows"] for summary in summaries.values())
    context.emit("log", text=f"{made:,} rows were tokenised in {count} parts.")


def run_here(values: Mapping[str, Any], context: TaskContext) -> Mapping[str, Any]:
    """One part, on the machine that the cluster gave it."""
    from camelid_core.models.loading import load_tokenizer, with_rope_scaling
    from camelid_core.models.rope import RopeScaling
    from camelid_core.models.template_choice import template_of
    from camelid_core.plugins import load_host
    from camelid_core.token_cache import TokenCache
    from camelid_core.tokenization.encoder import Encoder

    from camelid_train.config import Recipe

    from .data import training_records
    from .run_preparation import base_model

    recipe, host = Recipe.model_validate(values["recipe"]), load_host()
    resolved = base_model(recipe, host)
    if recipe.model.rope:
        resolved = with_rope_scaling(resolved, RopeScaling.parse(recipe.model.rope))
    encoder = Encoder(load_tokenizer(resolved), template_of(resolved, host, recipe.data.template))

    def progress(done: int, total: int | None) -> None:
        if context.stop_requested():
            raise Interrupted
        context.emit("progress", done=done, total=total, unit="rows")

    records = training_records(recipe.data, host)
    rows = TokenCache().encode_part(records, encoder, values["number"], values["of"], progress)
    return {"rows": rows}
