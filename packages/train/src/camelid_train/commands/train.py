"""`camelid train RECIPE [section.field=value …]`."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from typing import Annotated

import typer
from camelid_core.commands.notify_option import EndListeners, Notify
from camelid_core.commands.output import print_rows, print_values
from camelid_core.commands.pipeline import queue_all, run_all, step_rows
from camelid_core.commands.run_job import print_summary, run_job
from camelid_core.config import load, parse_overrides, validate
from camelid_core.errors import JobError, UsageError
from camelid_core.jobs.foreground import open_store
from camelid_core.jobs.job_needs import possible_needs
from camelid_core.jobs.start_time import start_time
from camelid_core.paths import validated_path
from camelid_core.pipelines.pipeline_config import Step
from camelid_core.pipelines.step_jobs import StepJobs
from camelid_core.plugins import load_host

from camelid_train.config import Recipe
from camelid_train.launching import is_secondary_process, train_as_secondary
from camelid_train.sweep import compared, shown, sweep_steps

from .recipe_help import RecipeHelp

app = typer.Typer(help="Fine-tune a model from a recipe.")
_FOR_EXAMPLE = "`camelid train recipe.toml`, or `camelid train model.name=smollm2-135m train.max_steps=5`"


@app.command(cls=RecipeHelp)
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe (.toml, .yaml or .json), or a first override.")] = "",
    overrides: Annotated[
        list[str] | None, typer.Argument(help="section.field=value, for example train.max_steps=5.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the run and its result.")] = "",
    detach: Annotated[bool, typer.Option(help="Queue the run for a worker and return.")] = False,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Go through all of it on a tiny random model in under a minute.")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Count rows, tokens and steps, and train nothing.")] = False,
    sweep: Annotated[
        list[str] | None,
        typer.Option(help="Several values of a field, as method.r=8,16: a run for every combination; may be repeated."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="With --sweep: do also what is done anew.")] = False,
    priority: Annotated[int, typer.Option(help="With --detach: the highest priority is begun first.")] = 0,
    not_before: Annotated[
        str, typer.Option(help="With --detach: begin at 22:00 (the next one), in +2h, or at 2026-12-01T06:30.")
    ] = "",
    notify: Notify = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Fine-tune a model. The run is a job: it is listed, it survives a kill, and Ctrl-C saves it."""
    from camelid_train.run_preparation import check

    config = read_recipe(recipe, overrides or []).with_absolute_paths()
    check(config, load_host())
    if is_secondary_process():  # torchrun or the like started this process; the local main process has the job
        train_as_secondary(config)
        return
    if rehearse:
        _rehearse(config, as_json)
        return
    if plan:
        _plan(config, as_json)
        return
    earliest = start_time(not_before) if not_before else 0.0
    if sweep and notify:
        raise UsageError("--notify is for one run; `camelid jobs notify add URL` tells of every job of a sweep.")
    listeners = EndListeners.parse(notify, detach)
    if sweep:
        steps = sweep_steps(config, sweep)
        for step in steps:
            check(validate(Recipe, step.settings, f"the run {step.label!r}"), load_host())
        jobs = StepJobs(name or "sweep", open_store(), load_host().tasks, again, priority, earliest)
        _sweep(steps, jobs, detach, as_json)
        return
    if detach:
        store, settings = open_store(), config.model_dump(mode="json")
        needs = possible_needs(store, "train", settings)
        job = store.submit("train", settings, name, priority, earliest=earliest, needs=needs)
        listeners.queued(store, job)
        typer.echo(f"Job {job.id} is queued. `camelid jobs logs {job.id} --follow` shows it; `camelid worker` runs it.")
        return
    print_summary(run_job("train", config, name, config.model.name, listeners=listeners), as_json)


def _sweep(steps: list[Step], jobs: StepJobs, detach: bool, as_json: bool) -> None:
    if detach:
        queue_all(steps, jobs)
        print_rows(list(step_rows(steps, jobs)), as_json)
        return
    failed = run_all(steps, jobs, as_json)
    rows = compared(steps, jobs.jobs)
    print_rows(rows if as_json else shown(rows), as_json)
    if not as_json:
        typer.echo(
            "difference: held-out loss minus the lowest's, paired by row, with its 95 % interval. The lowest of several"
            " is partly luck: confirm it with other seeds or rows."
        )
    if failed:
        raise JobError(f"{failed} Run the same command again: runs that are done are kept.")


def _rehearse(config: Recipe, as_json: bool) -> None:
    from camelid_train.planning.rehearsal import Stage, rehearse

    def tell(stage: Stage) -> None:
        typer.echo(f"{stage.name:12} {stage.seconds:5.1f} s  {stage.text}", err=as_json)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a run's own go to its log
        stages = rehearse(config, tell)
    if as_json:
        typer.echo(json.dumps({"seconds": stages.seconds, "stages": [asdict(stage) for stage in stages.done]}))
    else:
        typer.echo(f"The recipe works from end to end: {len(stages.done)} stages in {stages.seconds:.0f} s.")


def _plan(config: Recipe, as_json: bool) -> None:
    from camelid_train.planning.plan import plan

    print_values(plan(config), as_json)


def read_recipe(recipe: str, overrides: list[str]) -> Recipe:
    """The recipe file with overrides; without a file, the defaults with overrides.

    Raises:
        UsageError: neither.
        ConfigError: what is given does not fit.
    """
    if not recipe:
        raise UsageError(f"say what to train: {_FOR_EXAMPLE}.")
    if "=" in recipe:
        return validate(Recipe, parse_overrides([recipe, *overrides]), "the overrides")
    path = validated_path(recipe, "recipe")
    if not path.suffix:
        raise UsageError(f"{recipe!r} is neither a recipe (.toml, .yaml or .json) nor an override: {_FOR_EXAMPLE}.")
    return load(Recipe, path, overrides)
