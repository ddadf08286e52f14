"""`camelid compat uniform_finetune …` and its like: another tool's command line, translated to a recipe."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Annotated, Any

import typer
from camelid_core.commands.run_job import print_summary, run_job
from camelid_core.compat.command_lines import show_or_run
from camelid_core.config import apply_overrides, validate
from camelid_core.datasets.sources import open_dataset, parse_sources
from camelid_core.errors import CamelidError
from camelid_core.plugins import load_host
from camelid_core.tasks import import_attribute

from camelid_train.compat import finetune, uniform_finetune
from camelid_train.compat import merge as merging
from camelid_train.compat import weight_diff as diffs
from camelid_train.compat.uniform_finetune import TranslatedRecipe
from camelid_train.config import Recipe
from camelid_train.launching import is_secondary_process, train_as_secondary
from camelid_train.toml import to_toml

app = typer.Typer(help="Other tools' command lines, read as recipes and commands.")
_MAX_ROWS_COUNTED = 2_000_000
_PASS_THROUGH: dict[str, Any] = {
    "ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": ["--help"],
}  # fmt: skip


@app.callback()
def _compat() -> None:
    """Other tools' command lines, read as recipes and commands."""


_Run = Annotated[
    bool,
    typer.Option(
        "--run",
        "--train",
        help="Train from the recipe instead of printing it; torchrun takes --run for one of its own.",
    ),
]
_Set = Annotated[
    list[str] | None, typer.Option("--set", help="section.field=value in the recipe; may stand several times.")
]
_Name = Annotated[str, typer.Option(help="Name of the run and its result.")]
_AsJson = Annotated[bool, typer.Option("--json", help="End with one line of JSON.")]


@app.command("uniform_finetune", context_settings=_PASS_THROUGH)
def _uniform_finetune(
    context: typer.Context, run: _Run = False, overrides: _Set = None, name: _Name = "", as_json: _AsJson = False
) -> None:
    """Read an argument list of Alpaca-CoT's uniform_finetune.py as it is, and print the recipe it means."""
    _show_or_train(uniform_finetune.read, context.args, run, overrides or [], name, as_json)


@app.command("finetune", context_settings=_PASS_THROUGH)
def _finetune(
    context: typer.Context, run: _Run = False, overrides: _Set = None, name: _Name = "", as_json: _AsJson = False
) -> None:
    """Read an argument list of Alpaca-CoT's first finetune.py (LLaMA only), and print the recipe it means."""
    _show_or_train(finetune.read, context.args, run, overrides or [], name, as_json)


def _show_or_train(
    read: Callable[..., TranslatedRecipe],
    arguments: Sequence[str],
    run: bool,
    overrides: Sequence[str],
    name: str,
    as_json: bool,
) -> None:
    world = int(os.environ.get("WORLD_SIZE") or 1)
    translated = read(arguments, world=world)
    rows = count_rows(translated.sources)
    if rows is not None:
        translated = read(arguments, rows, world)
    apply_overrides(translated.values, overrides)
    values = {
        section: {k: v for k, v in fields.items() if v is not None} for section, fields in translated.values.items()
    }
    recipe = validate(Recipe, values, "the flags")
    if not run:
        typer.echo(to_toml(translated.values, comments(translated)), nl=False)
        return
    from camelid_train.run_preparation import check

    check(recipe, load_host())
    if is_secondary_process():  # torchrun or the like started this process; the local main process has the job
        train_as_secondary(recipe.with_absolute_paths())
        return
    typer.echo("\n".join([*comments(translated), "", *banner(recipe, rows, world)]), err=True)
    print_summary(
        run_job("train", recipe.with_absolute_paths(), name, recipe.with_absolute_paths().model.name), as_json
    )


@app.command("merge", context_settings=_PASS_THROUGH)
def merge(
    context: typer.Context,
    run: Annotated[bool, typer.Option("--run", help="Merge instead of printing the command.")] = False,
) -> None:
    """Read an argument list of Alpaca-CoT's merge.py as it is, and print the command it means."""
    show_or_run(merging.read(context.args), run)


@app.command("weight_diff", context_settings=_PASS_THROUGH)
def weight_diff(
    context: typer.Context,
    run: Annotated[bool, typer.Option("--run", help="Do it instead of printing the command.")] = False,
) -> None:
    """Read an argument list of Stanford Alpaca's or open-instruct's weight_diff.py, and print the command it means."""
    show_or_run(diffs.read(context.args), run)


for _command in load_host().registry("camelid_compat_commands"):
    app.command(_command.name, help=_command.help, context_settings=_PASS_THROUGH)(import_attribute(_command.target))


def count_rows(sources: Sequence[str]) -> int | None:
    """Rows of all datasets together, or None where one is not on this machine and its size is unknown."""
    registry, total = load_host().datasets, 0
    try:
        for source in parse_sources(sources, registry):
            dataset = open_dataset(source.name, registry)
            rows = dataset.rows
            if not rows and not dataset.missing():
                rows = sum(1 for _ in islice(dataset.load("train", None), _MAX_ROWS_COUNTED))
            if not rows:
                return None
            total += int(rows * source.weight)
    except CamelidError:
        return None  # training will report what is wrong with it
    return total


def comments(translated: TranslatedRecipe) -> list[str]:
    ignored = (
        [f"Ignored, because {translated.tool} has no such flag: {' '.join(translated.unknown)}"]
        if translated.unknown
        else []
    )
    return [*translated.notes, *ignored]


def banner(recipe: Recipe, rows: int | None, world: int) -> list[str]:
    """What the original prints when it starts."""
    train = recipe.train
    batch = train.batch_size * train.accumulation * world
    examples = None if rows is None else min(rows - recipe.data.eval_rows, recipe.data.rows or rows)
    steps: Any = "?" if examples is None else math.ceil(train.epochs * math.ceil(examples / batch))
    return [
        "***** Running training *****",
        f"  Num Epochs = {train.epochs:g}",
        f"  Instantaneous batch size per GPU = {train.batch_size}",
        f"  Gradient Accumulation steps = {train.accumulation}",
        f"  Total train batch size (w. parallel, distributed & accumulation) = {batch}",
        f"  Total optimization steps = {train.max_steps or steps}",
        f"  Saving steps = {train.save_steps}",
    ]
