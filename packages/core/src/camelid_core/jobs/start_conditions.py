"""What a job waits for, in words: other jobs, a time, or workers for all of its nodes.

Knows dependencies, start times and groups. Knows nothing of what workers do.
"""

from __future__ import annotations

from datetime import datetime

from camelid_core.errors import JobError

from .job import ACTIVE, ENDED, Job, JobState
from .store import JobStore


def waits_for(store: JobStore, job: Job) -> str:
    """`after job 3 (running); not before 2026-12-01 22:00`; empty where nothing but a worker is missing."""
    if job.state == JobState.CLAIMED and job.in_group:
        return _missing_nodes(store, job)
    if job.state != JobState.QUEUED:
        return ""
    needed = [_needed(store, each) for each in job.depends_on]
    time = datetime.fromtimestamp(job.earliest).astimezone() if job.earliest > store.clock.wall() else None
    nodes = f"{job.nodes} workers at the same time, for launch.nodes={job.nodes}" if job.nodes > 1 else ""
    return "; ".join(filter(None, [*needed, f"not before {time:%Y-%m-%d %H:%M}" if time else "", nodes]))


def _missing_nodes(store: JobStore, job: Job) -> str:
    missing = sum(node.state not in ACTIVE for node in store.nodes(job))
    return f"{missing} more of its {job.nodes} workers" if missing else ""


def _needed(store: JobStore, job_id: int) -> str:
    try:
        other = store.get(job_id)
    except JobError:
        return f"after job {job_id}, which was deleted"
    if other.state == JobState.SUCCEEDED:
        return ""
    mend = f": `camelid jobs retry {job_id}`" if other.state in ENDED else ""
    return f"after job {job_id} ({other.state}{mend})"
