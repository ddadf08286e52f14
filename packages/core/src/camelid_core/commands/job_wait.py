"""`camelid jobs wait`: until jobs have ended, through lost attempts and what retries them by itself.

Knows how ends look as text. Everything else is `camelid_core.jobs`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from camelid_core.jobs.advice import advice
from camelid_core.jobs.job import ACTIVE, ENDED, Job, JobState
from camelid_core.jobs.presence import anyone_works
from camelid_core.jobs.start_conditions import reasons_to_wait
from camelid_core.jobs.store import JobStore
from camelid_core.notifications.desktop import check_desktop, notify_desktop

from .job_access import NO_WORKER, AsJson, JobIds, job_values, open_swept_store, wait_a_moment

TIMED_OUT = 2
"""Exit code where the time is over and a job has not ended."""


def wait(
    job_ids: JobIds,
    timeout: Annotated[
        float, typer.Option(min=0, help="Wait no longer than so many seconds; 0 is without limit.")
    ] = 0.0,
    desktop: Annotated[bool, typer.Option("--desktop", help="Show a notification when they have ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Wait until the jobs have ended: exit code 0 if all succeeded, 1 if one did not, 2 if the time is over."""
    if desktop:
        check_desktop()
    store = open_swept_store()
    jobs = _ended(store, list(dict.fromkeys(job_ids)), time.monotonic() + timeout if timeout else float("inf"))
    late = [job for job in jobs if job.state not in ENDED]
    print_ends(store, jobs, as_json)
    if desktop:
        notify_desktop("Camelid", ", ".join(f"{job.label}: {_stands(job)}" for job in jobs))
    if late:
        if not as_json:
            numbers = " ".join(str(job.id) for job in late)
            typer.echo(f"After {timeout:g} s not ended: {numbers}. `camelid jobs wait {numbers}` waits on.", err=True)
        raise typer.Exit(TIMED_OUT)
    if any(job.state != JobState.SUCCEEDED for job in jobs):
        raise typer.Exit(1)


def print_ends(store: JobStore, jobs: Sequence[Job], as_json: bool) -> None:
    """How jobs ended: a sentence each, or one JSON array."""
    if as_json:
        waits = reasons_to_wait(store, jobs)
        typer.echo(json.dumps([job_values(job, waits[job.id]) for job in jobs], ensure_ascii=False, indent=2))
    else:
        for job in jobs:
            parts = filter(None, (f"Job {job.id} {_stands(job)}.", job.published or job.error, advice(job)))
            typer.echo(" ".join(parts))


def _ended(store: JobStore, job_ids: Sequence[int], deadline: float) -> list[Job]:
    """The jobs once all have ended, or as they are at the deadline. Says once if no worker is there."""
    hint = NO_WORKER
    while True:
        jobs = [store.get(job_id) for job_id in job_ids]
        going = [job for job in jobs if job.state not in ENDED]
        left = deadline - time.monotonic()
        if not going or left <= 0:
            return jobs
        if hint and not any(job.state in ACTIVE for job in going) and not anyone_works(store):
            typer.echo(hint, err=True)
            hint = ""
        wait_a_moment(store, left)


def _stands(job: Job) -> str:
    return str(job.state) if job.state in ENDED else f"is {job.state}"
