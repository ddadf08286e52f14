"""`camelid eval score MODEL… --task NAME`: models × evaluations with intervals, and paired differences from a baseline;
`camelid eval list`: which evaluations and suites there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from camelid_core.commands.output import print_rows
from camelid_core.commands.run_job import print_summary, run_job
from camelid_core.config import parse_overrides, validate
from camelid_core.errors import UsageError
from camelid_core.plugins import load_host
from camelid_core.statistics.power import rows_for_shares

from camelid_serve.evaluations.chosen_evaluations import HOOK, chosen_evaluations
from camelid_serve.evaluations.score_config import ScoreConfig
from camelid_serve.evaluations.score_table import notes, shown_rows
from camelid_serve.evaluations.suites.suite import builtin_suites, open_suite
from camelid_serve.predict.prediction_rows import model_labels

from .common_options import given
from .comparison_options import OVERRIDE


def _field(name: str, *flags: str) -> Any:
    return typer.Option(*flags, help=ScoreConfig.model_fields[name].description, show_default=False)


def score(
    models: Annotated[list[str], typer.Argument(help="Models to score, and any field=value, as dtype=float32.")],
    task: Annotated[
        list[str] | None, typer.Option(help=f"{ScoreConfig.model_fields['tasks'].description} Repeatable.")
    ] = None,
    suite: Annotated[str | None, _field("suite")] = None,
    files: Annotated[str | None, _field("files")] = None,
    baseline: Annotated[str | None, _field("baseline")] = None,
    rows: Annotated[int | None, _field("rows")] = None,
    max_new_tokens: Annotated[int | None, _field("max_new_tokens")] = None,
    template: Annotated[str | None, _field("template")] = None,
    engine: Annotated[str | None, _field("engine")] = None,
    every: Annotated[
        bool, typer.Option("--all-measures", help="Show every measure, not only the first of each.")
    ] = False,
    name: Annotated[str, typer.Option(help="Name of the job and its result.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Score models on evaluations: a table with 95 % intervals, and paired differences from a baseline.

    It is a job: after a kill or a cancellation, `camelid jobs retry` goes on. Every item is kept in the result, with
    the answers and scores of each model.
    """
    overrides = parse_overrides([each for each in models if OVERRIDE.match(each)])
    values = given(
        suite=suite, files=files, baseline=baseline, rows=rows, max_new_tokens=max_new_tokens, template=template,
        engine=engine,
    )  # fmt: skip
    names = [each for each in models if not OVERRIDE.match(each)]
    config = validate(ScoreConfig, {"models": names, "tasks": task or [], **values, **overrides}, "the options")
    config = config.with_absolute_paths()
    model_labels(config.models)
    chosen_evaluations(config, load_host())
    job = run_job("score", config, name, *config.models)
    results = json.loads((Path(job.published) / "results.json").read_text(encoding="utf-8"))
    if as_json:
        print_summary(job, True, results=results)
        return
    print_rows(shown_rows(results, every), False)
    typer.echo("\nIntervals: 95 %. Differences are paired item by item, p after Holm's correction for the table.")
    for note in notes(results):
        typer.echo(note)
    typer.echo(job.published)


def rows_needed(
    difference: Annotated[
        float, typer.Argument(help="The difference to see, in points of a share: 5 is 5 %.", min=0.1, max=100)
    ],
    discordant: Annotated[
        float,
        typer.Option(help="Share of items, in per cent, that only one of the two models gets right.", min=0.1, max=100),
    ] = 25.0,
    power: Annotated[float, typer.Option(help="How often such a difference is to be seen.", min=0.5, max=0.999)] = 0.8,
) -> None:
    """How many items show a difference of two models on the same items, at 5 %: before anything is scored."""
    found = rows_for_shares(difference / 100, discordant / 100, power)
    if found is None:
        raise UsageError(
            f"a difference of {difference:g} points takes at least {difference:g} % of items that only one gets right; "
            f"--discordant is {discordant:g}."
        )
    typer.echo(f"{found:,} items")


def list_evaluations(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Evaluations and suites that can be scored."""
    rows = [
        {"name": each.name, "kind": each.kind, "data": each.data or "must be named", "help": each.help}
        for each in load_host().registry(HOOK)
    ]
    suites = [
        {"name": name, "kind": "suite", "data": "--files DIRECTORY", "help": " ".join(open_suite(name).help.split())}
        for name in builtin_suites()
    ]
    print_rows([*rows, *suites], as_json)
