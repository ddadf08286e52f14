"""`camelid pipeline FILE [step.field=value …]`: several jobs from one file, one after the other.

Knows how a pipeline looks as text. Everything else is `camelid_core.pipelines`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from camelid_core.errors import JobError
from camelid_core.jobs.advice import advice
from camelid_core.jobs.foreground import open_store
from camelid_core.jobs.job import Job, JobState
from camelid_core.jobs.presence import live_workers
from camelid_core.jobs.start_conditions import waits_for
from camelid_core.jobs.start_time import start_time
from camelid_core.notifications.delivery import announce
from camelid_core.paths import validated_path
from camelid_core.pipelines.pipeline_config import Step, read_pipeline
from camelid_core.pipelines.run_here import run_here
from camelid_core.pipelines.step_jobs import StepJobs
from camelid_core.plugins import load_host

from .output import ProgressPrinter, print_rows

app = typer.Typer(add_completion=False, rich_markup_mode=None)

Detach = Annotated[bool, typer.Option(help="Queue the jobs for a worker and return.")]
Again = Annotated[bool, typer.Option("--again", help="Do every step anew, also those that are done.")]
Priority = Annotated[int, typer.Option(help="Priority of the jobs with --detach: the highest is begun first.")]
NotBefore = Annotated[
    str, typer.Option(help="With --detach: begin at 22:00 (the next one), in +2h, or at 2026-12-01T06:30.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON at the end.")]


@app.command()
def pipeline(
    file: Annotated[str, typer.Argument(help="The pipeline (.toml, .yaml or .json).")],
    overrides: Annotated[list[str] | None, typer.Argument(help="step.field=value, as train.train.epochs=2.")] = None,
    detach: Detach = False,
    again: Again = False,
    priority: Priority = 0,
    not_before: NotBefore = "",
    as_json: AsJson = False,
) -> None:
    """Run the steps of a file in order, each as a job. Run it again after a failure or a stop: what is done is kept."""
    found = read_pipeline(validated_path(file, "pipeline"), overrides or [])
    earliest = start_time(not_before) if not_before else 0.0
    jobs = StepJobs(found.name, open_store(), load_host().tasks, again, priority, earliest)
    if detach:
        queue_all(found.steps, jobs)
        print_rows(list(step_rows(found.steps, jobs)), as_json)
        return
    failed = run_all(found.steps, jobs, as_json)
    print_rows(list(step_rows(found.steps, jobs)), as_json)
    if failed:
        raise JobError(f"{failed} Run the same command again: what is done is kept.")


def queue_all(steps: Sequence[Step], jobs: StepJobs) -> None:
    """Queue every step, and say if no worker is there to run them."""
    jobs.check(steps)
    for step in steps:
        jobs.queue(step)
    if not live_workers(jobs.store):
        typer.echo("No worker is running; `camelid worker` starts one.", err=True)


def run_all(steps: Sequence[Step], jobs: StepJobs, quiet: bool = False) -> str:
    """Run the steps here with progress; returns what went wrong, empty for nothing."""
    printer, problems = ProgressPrinter(quiet), []
    try:
        for step, job in run_here(steps, jobs, _announce, printer):
            if job.state != JobState.SUCCEEDED:
                problems.append(f"Step {step.label!r} (job {job.id}) {job.state}: {job.error} {advice(job)}".rstrip())
    finally:
        printer.close()
        announce(jobs.store)
    return " ".join(problems)


def step_rows(steps: Sequence[Step], jobs: StepJobs) -> Iterator[dict[str, Any]]:
    """A line for each step: its job, how it stands, how long it took, and where its result is."""
    for step in steps:
        known = jobs.jobs.get(step.label)
        job = jobs.store.get(known.id) if known else None
        yield {
            "step": step.label,
            "job": str(job.id) if job else "",
            "state": str(job.state) if job else "not run",
            "seconds": f"{job.ended - job.started:.1f}" if job and job.started and job.ended else "",
            "outcome": (job.published or job.error or waits_for(jobs.store, job)).partition("\n")[0] if job else "",
        }


def _announce(step: Step, job: Job) -> None:
    state = "is done" if job.state == JobState.SUCCEEDED else f"is {job.state}"
    typer.echo(f"{step.label}: job {job.id} {state if job.state != JobState.QUEUED else 'begins'}", err=True)
