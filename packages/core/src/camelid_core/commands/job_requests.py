"""`camelid jobs cancel|pause|resume|finish|retry|priority|move`: what a person can ask of a job.

Knows how answers look as text. Everything else is `camelid_core.jobs`.
"""

from __future__ import annotations

from typing import Annotated

import typer

from camelid_core.errors import JobError, JobStopped, UsageError
from camelid_core.jobs.foreground import run_queued_job
from camelid_core.jobs.job import ENDED, Job, JobState
from camelid_core.jobs.queue_order import FIRST, LAST, move
from camelid_core.jobs.store import JobStore
from camelid_core.notifications.delivery import announce

from .job_access import AsJson, JobId, open_swept_store, print_job, print_queued
from .job_wait import print_ends
from .run_job import STOPPED_KINDS

PLACES = {"up": -1, "down": 1, "first": FIRST, "last": LAST}
"""Where a waiting job can be moved, and by how many places."""


def cancel(job_id: JobId, as_json: AsJson = False) -> None:
    """Let the job save, then end it."""
    _request(job_id, "cancel", as_json)


def pause(job_id: JobId, as_json: AsJson = False) -> None:
    """Let the job save, then keep it until `camelid jobs resume`."""
    _request(job_id, "pause", as_json)


def finish(job_id: JobId, as_json: AsJson = False) -> None:
    """Let the job end early and keep its result."""
    _request(job_id, "finish", as_json)


def priority(
    job_id: JobId,
    number: Annotated[int, typer.Argument(help="The highest is begun first, of equals the oldest; 0 is usual.")],
    as_json: AsJson = False,
) -> None:
    """Give a job that waits another priority."""
    store = open_swept_store()
    job = store.prioritise(job_id, number)
    print_job(store, job, f"Job {job.id} has priority {job.priority}.", as_json)


def move_job(
    job_id: JobId,
    to: Annotated[str, typer.Argument(help="up, down, first or last among the jobs that wait.")],
    as_json: AsJson = False,
) -> None:
    """Begin a job that waits earlier or later than others, whose priorities may change for that."""
    if to not in PLACES:
        raise UsageError(f"{to!r} is no place; write up, down, first or last.")
    store = open_swept_store()
    job = move(store, job_id, PLACES[to])
    print_job(store, job, f"Job {job.id} was moved {to}; it has priority {job.priority}.", as_json)


def resume(job_id: JobId, as_json: AsJson = False) -> None:
    """Queue a paused job again; it goes on from what was saved."""
    store = open_swept_store()
    if (state := store.get(job_id).state) != JobState.PAUSED:
        raise JobError(f"Job {job_id} is {state}, not paused; `camelid jobs retry {job_id}` queues what failed again.")
    store.retry(job_id)
    print_queued(store, job_id, as_json)


def retry(
    job_id: JobId,
    here: Annotated[bool, typer.Option("--here", help="Run it in this terminal, at once.")] = False,
    as_json: AsJson = False,
) -> None:
    """Queue a failed, cancelled, paused or lost job again; it resumes from what was saved."""
    store = open_swept_store()
    job = store.get(job_id)
    if job.state != JobState.QUEUED:  # a lost one may be queued again by now
        store.retry(job_id)
    if here:
        _run_here(store, job_id, as_json)
        return
    print_queued(store, job_id, as_json)


def _run_here(store: JobStore, job_id: int, as_json: bool) -> None:
    job = run_queued_job(store, job_id)
    announce(store, job_id)
    print_ends(store, [job], as_json)
    if job.state != JobState.SUCCEEDED:
        raise typer.Exit(JobStopped.exit_code if job.error_kind in STOPPED_KINDS else 1)


def _request(job_id: int, request: str, as_json: bool) -> None:
    store = open_swept_store()
    job = store.request(job_id, request)  # type: ignore[arg-type]
    print_job(store, job, _answer(job), as_json)


def _answer(job: Job) -> str:
    return f"Job {job.id} is {job.state}." if job.state in ENDED else f"Job {job.id} was asked to {job.request}."
