"""What a waiting job waits for, in words: other jobs, a time, its next attempt, room on a machine, those before it, or
workers for all of its nodes.

Knows dependencies, times, groups and what the machines of live workers have. Knows nothing of what workers do.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from .admission import Choice, choose, never_fits
from .claims import READY, all_run_that_may, running_on, users_at_their_limit, waiting
from .job import ACTIVE, ENDED, Job, JobState
from .job_settings import FILE, JobSettings, job_settings
from .presence import live_machines
from .resources import Resources
from .retry_policy import attempts_so_far
from .store import JobStore


def waits_for(store: JobStore, job: Job) -> str:
    """`after job 3 (running); not before 2026-12-01 22:00`; empty where nothing but a worker is missing."""
    return reasons_to_wait(store, [job])[job.id]


def reasons_to_wait(store: JobStore, jobs: Sequence[Job]) -> dict[int, str]:
    """For each of these jobs what it waits for, empty where nothing but a worker is missing: a handful of queries,
    however many there are."""
    queued = [job for job in jobs if job.state in (JobState.QUEUED, JobState.LOST)]
    reasons = dict.fromkeys((job.id for job in jobs), "")
    if queued:
        machines, settings = live_machines(store), job_settings(store.path.parent)
        with store.database.read() as db:
            queue = _Queue.read(db, store, queued, machines, settings)
        reasons |= {job.id: queue.reason(job) for job in queued}
    begun = [job for job in jobs if job.state == JobState.CLAIMED and job.in_group]
    return reasons | {job.id: _missing_nodes(store, job) for job in begun}


def _missing_nodes(store: JobStore, job: Job) -> str:
    missing = sum(node.state not in ACTIVE for node in store.nodes(job))
    return f"{missing} more of its {job.nodes} workers" if missing else ""


@dataclass(frozen=True, slots=True)
class _Queue:
    """The queue at one moment: the states of jobs that others depend on, those that wait for nothing but room, and for
    each machine the first in line with what it waits for."""

    store: JobStore
    states: Mapping[int, JobState]
    due: Collection[int]
    first: Sequence[tuple[Resources, Choice | None]]
    limited: frozenset[str]
    full: bool
    settings: JobSettings

    @classmethod
    def read(
        cls,
        db: sqlite3.Connection,
        store: JobStore,
        jobs: Sequence[Job],
        machines: Sequence[Resources],
        settings: JobSettings,
    ) -> _Queue:
        needed = json.dumps(sorted({each for job in jobs for each in job.depends_on}))
        states = db.execute("SELECT id, state FROM job WHERE id IN (SELECT value FROM json_each(?))", (needed,))
        asked = json.dumps([job.id for job in jobs])
        ready = db.execute(
            f"SELECT id FROM job WHERE id IN (SELECT value FROM json_each(?)) AND {READY}",  # noqa: S608 - a constant
            (asked,),
        )
        now = {"boot": store.clock.boot(), "now": store.clock.now(), "wall": store.clock.wall()}
        limited = users_at_their_limit(db, settings)
        first = [(each, choose(waiting(db, now, limited), each, running_on(db, each.machine))) for each in machines]
        return cls(
            store=store,
            states={row["id"]: JobState(row["state"]) for row in states},
            due={row["id"] for row in ready},
            first=first,
            limited=limited,
            full=all_run_that_may(db, settings),
            settings=settings,
        )

    def reason(self, job: Job) -> str:
        nodes = f"{job.nodes} workers at the same time, for launch.nodes={job.nodes}" if job.nodes > 1 else ""
        return "; ".join(filter(None, (*map(self._needed, job.depends_on), self._time(job), nodes, self._room(job))))

    def _needed(self, job_id: int) -> str:
        state = self.states.get(job_id)
        if state is None:
            return f"after job {job_id}, which was deleted"
        if state == JobState.SUCCEEDED:
            return ""
        mend = f": `camelid jobs retry {job_id}`" if state in ENDED else ""
        return f"after job {job_id} ({state}{mend})"

    def _time(self, job: Job) -> str:
        parts = []
        if job.earliest > self.store.clock.wall():
            parts.append(f"not before {datetime.fromtimestamp(job.earliest).astimezone():%Y-%m-%d %H:%M}")
        if attempt := attempts_so_far(job):
            left = job.not_before - self.store.clock.now() if job.boot == self.store.clock.boot() else 0.0
            parts.append(f"{attempt}, next try in {left:.0f} s" if left >= 1 else f"{attempt}, next try at once")
        return "; ".join(parts)

    def _room(self, job: Job) -> str:
        """What is missing besides time and other jobs."""
        if job.id not in self.due:
            return ""
        if job.user in self.limited:
            return f"user {job.user!r} runs {self.settings.per_user.running} jobs, as many as {FILE} allows"
        if self.full:
            return f"{self.settings.limits.running} jobs run, as many as {FILE} allows"
        if not self.first:
            return ""
        never = {machine.host: never_fits(job.needs, machine) for machine, _ in self.first}
        if all(never.values()):
            return f"no machine has room for it: {'; '.join(never.values())}"
        choices = [choice for machine, choice in self.first if not never[machine.host]]
        blocked = [choice for choice in choices if choice is not None and choice.given is None]
        if len(blocked) < len(choices):
            return ""  # some machine is about to begin one
        own = next((choice for choice in blocked if choice.id == job.id), None)
        return own.why if own else f"behind job {blocked[0].id}, which is first in line ({blocked[0].why})"
