"""What makes a run ready: one routine for the training task, `--plan`, `--rehearse`, the command line and the page.

`checks` are what can be said of a recipe before there is a job. `prepare_run` repeats them where the run is, then goes
on to tokenizer, encoder and tokenised rows. Imports torch only with the tokenizer; loads no weights. What depends on
the devices and machines of a launch is checked in `launching.checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from camelid_core.datasets.sources import open_dataset, parse_sources
from camelid_core.errors import CamelidError, ConfigError, DataError
from camelid_core.models.resolved_model import ResolvedModel, resolve_model
from camelid_core.models.revisions import require_commit
from camelid_core.models.template_choice import template_named, template_of
from camelid_core.plugins import Host
from camelid_core.templates.template import PromptTemplate

from .config import Recipe
from .monitoring import evaluation, trackers
from .objectives.registry import objective_of

if TYPE_CHECKING:
    from camelid_core.token_cache.cache import EncodingProgress
    from camelid_core.tokenization.encoder import Encoder

    from .data import PreparedData

Check = Callable[[], object]


@dataclass(frozen=True, slots=True)
class ReadyRun:
    """A recipe with everything it names: the base model on disk, the template, the encoder and the tokenised rows."""

    resolved: ResolvedModel
    template: PromptTemplate
    encoder: Encoder
    data: PreparedData


def checks(recipe: Recipe, host: Host, at_hand: bool = False) -> Iterator[tuple[str, Check]]:
    """Everything that can be refused before there is a job: each check with the field it is about, "" for several.

    `at_hand` refuses sources whose rows must be fetched first; a run fetches those that it can. A check raises
    CamelidError.
    """
    yield from _settings_checks(recipe)
    yield "train.report_to", partial(trackers.check_trackers, recipe.train.report_to)
    yield "model.name", partial(base_model, recipe, host)
    yield "data.template", partial(_check_template, recipe, host)
    yield "data.sources", partial(_check_sources, recipe, host, at_hand)


def check(recipe: Recipe, host: Host) -> None:
    """Run all checks of a recipe.

    Raises:
        CamelidError: the first thing that is wrong.
    """
    for _, each in checks(recipe, host):
        each()


def prepare_run(
    recipe: Recipe,
    host: Host,
    progress: EncodingProgress | None = None,
    data_turn: AbstractContextManager[Any] | None = None,
) -> ReadyRun:
    """Make the recipe ready for its first step. `data_turn` is held while rows are tokenised: processes take turns.

    Raises:
        CamelidError: whatever would end the run before its first step, except memory, disk space and the launch.
    """
    from camelid_core.models.loading import check_weight_files, load_tokenizer, with_rope_scaling
    from camelid_core.models.rope import RopeScaling
    from camelid_core.models.vocabulary import check_vocabulary
    from camelid_core.tokenization.encoder import Encoder

    for _, each in _settings_checks(recipe):
        each()
    resolved = base_model(recipe, host)
    check_weight_files(resolved.base)
    if recipe.model.rope:
        resolved = with_rope_scaling(resolved, RopeScaling.parse(recipe.model.rope))
    template = template_of(resolved, host, recipe.data.template)
    encoder = Encoder(load_tokenizer(resolved), template)
    check_vocabulary(encoder, resolved)
    with data_turn or nullcontext():
        data = objective_of(recipe.objective).prepare(recipe.objective, recipe.data, encoder, host, progress)
    evaluation.check_data(recipe, data)
    _check_positions(resolved, data)
    return ReadyRun(resolved, template, encoder, data)


def base_model(recipe: Recipe, host: Host) -> ResolvedModel:
    """The model to start from, as it is on disk.

    Raises:
        CamelidError: it is not here, it is an adapter or a GGUF file, or it is of another commit than the recipe says.
    """
    resolved = resolve_model(recipe.model.name, host, gguf=False)
    if resolved.adapter_dir is not None:
        raise DataError(f"{recipe.model.name!r} is an adapter; merge it first: `camelid merge {recipe.model.name}`.")
    if recipe.model.revision:
        require_commit(resolved.base, recipe.model.revision)
    return resolved


def _check_positions(resolved: ResolvedModel, data: PreparedData) -> None:
    """Raise ConfigError for rows longer than a table of positions: a model computes nothing beyond its end."""
    from camelid_core.models.loading import load_config

    from .loop.batches import lengths_of

    if resolved.adapter.positions != "table":
        return
    most = load_config(resolved).max_position_embeddings
    longest = max((max(lengths_of(rows), default=0) for rows in (data.train, data.heldout)), default=0)
    if longest > most:
        raise ConfigError(
            f"a row has {longest:,} tokens, and {resolved.name!r} has a table of {most:,} positions and computes "
            f"nothing beyond. Set data.cutoff={most}."
        )


def _settings_checks(recipe: Recipe) -> Iterator[tuple[str, Check]]:
    yield "", partial(objective_of(recipe.objective).check, recipe.objective, recipe)
    yield "", partial(evaluation.check_recipe, recipe)


def _check_template(recipe: Recipe, host: Host) -> None:
    """Of a model that is not here, which another check says, only what its recipe names can be checked."""
    try:
        resolved = base_model(recipe, host)
    except CamelidError:
        if recipe.data.template:
            template_named(recipe.data.template, host)
        return
    template_of(resolved, host, recipe.data.template)


def _check_sources(recipe: Recipe, host: Host, at_hand: bool) -> None:
    for source in parse_sources(recipe.data.sources, host.datasets):
        dataset = open_dataset(source.name, host.datasets)
        missing = dataset.missing() if at_hand else ""
        if missing:
            raise DataError(f"{source.name}: {missing}")
