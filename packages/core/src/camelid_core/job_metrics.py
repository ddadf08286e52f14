"""What a monitor wants to know of the queue: how many jobs in which state, how long they take, who works.

Knows the tables of jobs, workers and machines. Everything is read from there when it is asked, so that whoever asks
gets the same; a job that is deleted is no longer counted.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict

from .jobs.job import ACTIVE, JobState
from .jobs.presence import live_workers
from .jobs.progress import progress_of
from .jobs.store import JobStore
from .machines.machine import machines
from .prometheus_text import MetricFamily, metrics_text

_BOUNDS = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0, 259200.0)
"""Seconds: from a second to three days."""
_MANY = 1000
_OLDEST = """SELECT min(created) FROM job WHERE leader = 0 AND state = 'queued' AND earliest <= :now AND NOT EXISTS (
  SELECT 1 FROM json_each(job.depends_on) AS needed LEFT JOIN job AS other ON other.id = needed.value
  WHERE other.state IS NOT 'succeeded')"""

_ATTEMPTS = """SELECT coalesce(sum(epoch), 0), coalesce(sum(retries + (state = 'failed' AND error_kind = 'lost')), 0)
  FROM job WHERE leader = 0"""
_DURATIONS = """SELECT task, state, ended - started FROM job
  WHERE leader = 0 AND ended IS NOT NULL AND started IS NOT NULL
  ORDER BY task, state"""


def job_metrics(store: JobStore) -> str:
    """In Prometheus' text format.

    Raises:
        JobError: the table cannot be read.
    """
    with store.database.read() as db:
        families = [*_counts(db), _oldest(db, store.clock.wall()), _durations(db)]
    return metrics_text([*families, *_workers(store), *_progress(store)])


def _counts(db: sqlite3.Connection) -> list[MetricFamily]:
    jobs = MetricFamily("camelid_jobs", "Jobs in the table, by state.")
    found = dict(db.execute("SELECT state, count(*) FROM job WHERE leader = 0 GROUP BY state").fetchall())
    for state in JobState:
        jobs.add(found.get(str(state), 0), state=str(state))
    attempts = MetricFamily("camelid_job_attempts", "Attempts at all jobs in the table.")
    lost = MetricFamily("camelid_job_attempts_lost", "Lost attempts since a person last queued their jobs.")
    begun, gone = db.execute(_ATTEMPTS).fetchone()
    attempts.add(begun)
    lost.add(gone)
    return [jobs, attempts, lost]


def _oldest(db: sqlite3.Connection, now: float) -> MetricFamily:
    family = MetricFamily(
        "camelid_oldest_waiting_seconds", "Age of the oldest job that waits for nothing but a worker; 0 without one."
    )
    created = db.execute(_OLDEST, {"now": now}).fetchone()[0]
    family.add(0.0 if created is None else max(0.0, now - created))
    return family


def _durations(db: sqlite3.Connection) -> MetricFamily:
    family = MetricFamily("camelid_job_seconds", "From the start of the last attempt to the end.", "histogram")
    taken: dict[tuple[str, str], list[float]] = defaultdict(list)
    for task, state, seconds in db.execute(_DURATIONS):
        taken[task, state].append(max(0.0, seconds))
    for (task, state), values in taken.items():
        family.add_histogram(values, _BOUNDS, task=task, state=state)
    return family


def _workers(store: JobStore) -> list[MetricFamily]:
    workers = MetricFamily("camelid_workers", "Workers of this machine that are alive.")
    workers.add(len(live_workers(store)))
    up = MetricFamily("camelid_machine_up", "Whether a machine that joined was heard of just now.")
    held = MetricFamily("camelid_machine_jobs", "Jobs that a machine that joined runs.")
    for machine in machines(store):
        if not machine.revoked:
            up.add(machine.online, machine=machine.name)
            held.add(len(machine.jobs), machine=machine.name)
    return [workers, up, held]


def _progress(store: JobStore) -> list[MetricFamily]:
    done = MetricFamily("camelid_job_progress_ratio", "How far a running job is, from 0 to 1.")
    left = MetricFamily("camelid_job_eta_seconds", "What a running job said was left, as of its last progress.")
    for job in store.list(ACTIVE, _MANY):
        progress = progress_of(store.path.parent, job.id)
        labels = {"job": str(job.id), "task": job.task, "name": job.label}
        if progress.total:
            done.add(progress.share, **labels)
        if progress.eta is not None:
            left.add(progress.eta, **labels)
    return [done, left]
