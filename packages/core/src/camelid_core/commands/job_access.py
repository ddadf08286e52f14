"""The job table as commands open it, and what they say of one job.

Knows that there may be no live worker that takes jobs from dead ones. Knows no command.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated, Any

import typer

from camelid_core.errors import JobError
from camelid_core.jobs.foreground import open_store
from camelid_core.jobs.job import Job
from camelid_core.jobs.presence import anyone_works
from camelid_core.jobs.start_conditions import waits_for
from camelid_core.jobs.store import JobStore

_POLL_SECONDS = 0.5
_RENEWAL_SECONDS = 2.0
NO_WORKER = "No worker is running; `camelid worker` starts one."

JobId = Annotated[int, typer.Argument(metavar="ID", help="The job's number, from `camelid jobs list`.", min=1)]
JobIds = Annotated[list[int], typer.Argument(metavar="ID…", help="Numbers of jobs, from `camelid jobs list`.", min=1)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def open_swept_store() -> JobStore:
    """The table, in which no job is with a worker that died."""
    store = open_store()
    sweep(store)
    return store


def sweep(store: JobStore) -> None:
    """Take jobs from dead workers, for there may be no live worker that does. After a suspend all leases have expired:
    workers that are alive get time to renew theirs."""
    with suppress(JobError):  # a user who may only read the table sees it as it is
        if store.has_expired_lease():
            time.sleep(_RENEWAL_SECONDS)
        store.sweep_lost()


def wait_a_moment(store: JobStore, seconds: float = _POLL_SECONDS) -> None:
    """Between two looks at the table."""
    time.sleep(min(seconds, _POLL_SECONDS))
    sweep(store)


def job_values(job: Job, waits: str) -> dict[str, Any]:
    """A job as JSON: every column, and what it waits for."""
    return {**asdict(job), "waits": waits}


def print_job(store: JobStore, job: Job, sentence: str, as_json: bool) -> None:
    """The job as it stands now: as JSON, else the sentence."""
    typer.echo(json.dumps(job_values(job, waits_for(store, job)), ensure_ascii=False) if as_json else sentence)


def print_queued(store: JobStore, job_id: int, as_json: bool = False) -> None:
    job = store.get(job_id)
    waits = waits_for(store, job)
    hint = "" if anyone_works(store) else f" {NO_WORKER}"
    print_job(store, job, f"Job {job.id} is {job.state}{f', {waits}' if waits else ''}.{hint}", as_json)
