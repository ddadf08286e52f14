"""`camelid jobs list` and `show`: the queue as a table, and everything known of one job.

Knows how jobs look as text. Everything else is `camelid_core.jobs`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from camelid_core.errors import UnknownName
from camelid_core.jobs.admission import assignment_in_words, needs_in_words
from camelid_core.jobs.advice import advice
from camelid_core.jobs.job import ENDED, Job, JobState
from camelid_core.jobs.progress import progress_of
from camelid_core.jobs.run_directories import LOG, attempts
from camelid_core.jobs.search import JobFilter, find_jobs, tasks_of_jobs
from camelid_core.jobs.start_conditions import reasons_to_wait, waits_for
from camelid_core.jobs.store import JobStore

from .job_access import AsJson, JobId, job_values, open_swept_store
from .output import print_rows

_MAX_ENDED_JOBS = 20
_USUAL = (("earliest", 0.0), ("nodes", 1), ("leader", 0), ("rank", 0))
_UNFINISHED = [state for state in JobState if state not in ENDED]


def list_jobs(
    state: Annotated[list[str] | None, typer.Option(help="Only jobs in this state, as failed; repeatable.")] = None,
    task: Annotated[str, typer.Option(help="Only jobs of this task, as train.")] = "",
    user: Annotated[str, typer.Option(help="Only jobs that this user submitted.")] = "",
    text: Annotated[str, typer.Option(help="Only jobs with this in their name or error.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="All jobs, not only the newest ones.")] = False,
    as_json: AsJson = False,
) -> None:
    """Jobs that are queued or running, and those that ended last."""
    store = open_swept_store()
    wanted = JobFilter(_states(state or []), _known_task(store, task), text, user=user)
    chosen = wanted != JobFilter()
    jobs = find_jobs(store, wanted, sys.maxsize) if everything or chosen else _current(store)
    waits = reasons_to_wait(store, jobs)
    if as_json:
        print_rows([_values(store, job, waits[job.id]) for job in jobs], as_json=True)
    else:
        empty = "No job is like that; `camelid jobs list --all` shows all." if chosen else "There are no jobs."
        print_rows([_row(store, job, waits[job.id]) for job in jobs], as_json=False, empty=empty)


def show(job_id: JobId, as_json: AsJson = False) -> None:
    """Everything known of one job."""
    store = open_swept_store()
    job = store.get(job_id)
    newest = attempts(store.path.parent, job_id)[:1]
    values = _values(store, job, waits_for(store, job)) | {
        "directory": str(newest[0]) if newest else "",
        "next": advice(job),
        "members": [_member(store, node) for node in store.nodes(job) if node.leader],
    }
    if as_json:
        typer.echo(json.dumps(values, indent=2, ensure_ascii=False))
        return
    values["needs"] = "" if job.needs is None else needs_in_words(job.needs)
    values["assigned"] = "" if job.assigned is None else assignment_in_words(job.assigned)
    for name, value in values.items():
        if value not in ("", None, {}, (), []) and (name, value) not in _USUAL:
            typer.echo(f"{name:14} {_text(name, value)}")


def duration(seconds: float) -> str:
    """`8 s`, `2 min`, `3 h 20 min`, `4 d`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min" if whole < 86400 else f"{whole // 86400} d"


def _states(names: list[str]) -> tuple[JobState, ...]:
    known = [str(state) for state in JobState]
    for name in names:
        if name not in known:
            raise UnknownName("state", name, known)
    return tuple(JobState(name) for name in names)


def _known_task(store: JobStore, task: str) -> str:
    """Raises UnknownName: no job has that task, which is most often a typing error."""
    if task and task not in (known := tasks_of_jobs(store)):
        raise UnknownName("task of a job", task, known)
    return task


def _current(store: JobStore) -> list[Job]:
    unfinished = store.list(_UNFINISHED, limit=sys.maxsize)
    return sorted(unfinished + store.list(ENDED, limit=_MAX_ENDED_JOBS), key=lambda job: job.id, reverse=True)


def _values(store: JobStore, job: Job, waits: str) -> dict[str, Any]:
    progress = progress_of(store.path.parent, job.id)
    return job_values(job, waits) | {"progress": asdict(progress) if progress.total else {}}


def _row(store: JobStore, job: Job, waits: str) -> dict[str, str]:
    requested = f" ({job.request} asked)" if job.request and job.state not in ENDED else ""
    progress = progress_of(store.path.parent, job.id)
    left = progress.eta if job.state not in ENDED else None
    return {
        "id": str(job.id),
        "state": f"{job.state}{requested}",
        "task": job.task,
        "name": job.name,
        "user": job.user,
        "progress": f"{progress.share:.0%}" if progress.total else "",
        "left": duration(left) if left is not None else "",
        "created": _when(job.created),
        "outcome": "; ".join(filter(None, (waits, job.published or job.error))).partition("\n")[0],
    }


def _member(store: JobStore, node: Job) -> dict[str, Any]:
    newest = next(iter(attempts(store.path.parent, node.id)), None)
    return {
        "node": node.rank,
        "state": str(node.state),
        "worker": node.owner,
        "error": node.error,
        "log": str(newest / LOG) if newest else "",
    }


def _text(name: str, value: Any) -> str:
    if name == "members":
        lines = (" ".join(f"{key} {item}" for key, item in each.items() if item != "") for each in value)
        return f"\n{'':14} ".join(lines)
    if name in ("created", "started", "ended", "earliest"):
        return _when(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
