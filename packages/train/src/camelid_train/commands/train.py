"""`camelid train RECIPE [section.field=value …]`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from camelid_core.commands.output import ProgressPrinter
from camelid_core.config import load, parse_overrides, validate
from camelid_core.errors import JobError
from camelid_core.jobs.foreground import open_store, run_in_foreground
from camelid_core.jobs.model import Job, State

from camelid_train.config import Recipe

app = typer.Typer(help="Fine-tune a model from a recipe.")

_SUMMARY = ("trained_tokens", "total_tokens", "seconds", "tokens_per_second", "final_loss", "eval_loss", "steps")


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe (.toml, .yaml or .json), or a first override.")] = "",
    overrides: Annotated[
        list[str] | None, typer.Argument(help="section.field=value, for example train.max_steps=5.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the run and its result.")] = "",
    detach: Annotated[bool, typer.Option(help="Queue the run for a worker and return.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Fine-tune a model. The run is a job: it is listed, it survives a kill, and Ctrl-C saves it."""
    config = read_recipe(recipe, overrides or []).anchored()
    if detach:
        job = open_store().submit("train", config.model_dump(mode="json"), name)
        typer.echo(f"Job {job.id} is queued. `camelid jobs logs {job.id} --follow` shows it; `camelid worker` runs it.")
        return
    printer = ProgressPrinter()
    try:
        job = run_in_foreground("train", config, name, printer)
    finally:
        printer.close()
    finish(job, as_json, {key: job.summary.get(key) for key in ("base_eval_loss", *_SUMMARY)})


def read_recipe(recipe: str, overrides: list[str]) -> Recipe:
    """The recipe file with overrides; without a file, the defaults with overrides."""
    if recipe and Path(recipe).suffix and "=" not in recipe:
        return load(Recipe, Path(recipe), overrides)
    given = [recipe, *overrides] if recipe else overrides
    return validate(Recipe, parse_overrides(given), "the overrides")


def finish(job: Job, as_json: bool, summary: dict[str, object]) -> None:
    """Say how a foreground job ended; raise if it did not succeed."""
    if job.state is not State.SUCCEEDED:
        raise JobError(job.error or f"job {job.id} ended as {job.state}.")
    if as_json:
        typer.echo(json.dumps({"artefact": job.published, **summary, "job": job.id}, ensure_ascii=False))
        return
    for key, value in summary.items():
        if value is not None:
            typer.echo(f"{key:18} {value:,.4g}" if isinstance(value, float) else f"{key:18} {value}")
    typer.echo(f"{'artefact':18} {job.published}")
