"""The job queue: one table is the single source of truth about what is queued, running and done.

Knows states, epochs (fencing tokens) and leases, and changes a state by one conditional statement
only (compare-and-swap). Knows nothing of processes or tasks, and of directories only which job numbers
they use. Accepted means committed to disk.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from camelid_core.errors import JobError, StaleAttempt
from camelid_core.paths import safe_name

from . import groups
from .admission import Choice
from .claims import DUE, ORDER, Claimant, given_anyway, next_job
from .clock import Clock
from .database import Database
from .job import ACTIVE, ENDED, TRANSITIONS, Job, JobState
from .job_rows import INSERT, MIGRATIONS, SCHEMA, UPDATE, VERSION, from_row, to_values
from .job_settings import job_settings
from .quotas import refuse_more, system_user
from .rendezvous import RollCall
from .resources import Assignment, Needs, Resources
from .run_directories import highest_job_number

_REQUEST_RANK = ("", "finish", "pause", "cancel")
_LEASE_EXPIRED = "state IN ('claimed', 'running') AND (boot <> :boot OR lease < :now)"


class JobStore:
    """Jobs in one SQLite file. Every method may be called from any thread.

    `backoff` are the seconds that a lost job waits before its first, second … retry; after the
    last one it has failed. The first wait is short: until the lease was over, half a minute had passed already.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock | None = None,
        backoff: tuple[float, ...] = (2.0, 20.0, 40.0),
        busy_seconds: float = 30.0,
    ) -> None:
        self.path = path
        self.clock = clock or Clock()
        self._backoff = backoff
        self.database = Database(path, SCHEMA, VERSION, MIGRATIONS, busy_seconds)

    # -- for people and pages

    def submit(
        self,
        task: str,
        config: Mapping[str, Any],
        name: str = "",
        priority: int = 0,
        key: str | None = None,
        hold_seconds: float = 0.0,
        depends_on: Iterable[int] = (),
        earliest: float = 0.0,
        needs: Needs | None = None,
        user: str | None = None,
    ) -> Job:
        """Queue a job; when this returns, it is on disk.

        `key` is an idempotency key: the same key gives the same job, so that a repeated click submits
        once. For `hold_seconds` only `claim(only=…)` may take the job. It is begun once the jobs `depends_on` have
        succeeded and the Unix time is `earliest`. Its number is above all earlier ones, those of a table that was moved
        away included: their directories belong to other jobs. `needs` None: not known, so that it runs with nothing
        beside. `user` is who submits it, by default the one this process belongs to.

        Raises:
            UsageError: the name is not valid for a directory.
            JobError: the key was used for something else, a job that it depends on is none, there are as many jobs as
                the settings allow, or the table cannot be written.
        """
        if name:
            safe_name(name, "job name")
        now, settings = self.clock.now(), job_settings(self.path.parent)
        job = Job(
            id=0, task=task, config=json.loads(json.dumps(config)), name=name, priority=priority, key=key,
            depends_on=tuple(depends_on), earliest=earliest, boot=self.clock.boot(), needs=needs,
            user=system_user() if user is None else user, nodes=groups.node_count(config),
            not_before=now + hold_seconds if hold_seconds else 0.0, created=self.clock.wall(),
        )  # fmt: skip
        with self.database.write() as db:
            row = db.execute("SELECT * FROM job WHERE key = ?", (key,)).fetchone() if key is not None else None
            if row is None:
                refuse_more(db, settings, job.user)
                for needed in job.depends_on:
                    _find(db, needed)
                row = db.execute(INSERT, to_values(replace(job, id=self._next_number(db)))).fetchall()[0]
        stored = from_row(row)
        if (stored.task, stored.config) != (job.task, job.config):
            raise JobError(f"The key {key!r} belongs to job {stored.id}, which is something else; use a new key.")
        return stored

    def get(self, job_id: int) -> Job:
        with self.database.read() as db:
            return _find(db, job_id)

    def with_key(self, key: str) -> Job | None:
        """The job that was submitted with that key."""
        with self.database.read() as db:
            row = db.execute("SELECT * FROM job WHERE key = ?", (key,)).fetchone()
        return None if row is None else from_row(row)

    def list(self, states: Iterable[JobState] | None = None, limit: int = 100, with_members: bool = False) -> list[Job]:
        """Jobs in these states (or all), the newest first; the further nodes of groups on request."""
        wanted = json.dumps([str(state) for state in (JobState if states is None else states)])
        query = (
            "SELECT * FROM job WHERE state IN (SELECT value FROM json_each(?)) AND (? OR +leader = 0) "
            "ORDER BY id DESC LIMIT ?"
        )
        with self.database.read() as db:
            return [from_row(row) for row in db.execute(query, (wanted, with_members, limit))]

    def nodes(self, job: Job) -> tuple[Job, ...]:
        """The rows of all nodes of a job, by rank: of a group it and its members, else it alone."""
        with self.database.read() as db:
            return groups.nodes_of(db, job)

    def roll_call(self, job: Job) -> RollCall:
        """Say that this node has all that it needs, and see whether the others do.

        Raises:
            StaleAttempt: the job was given to another attempt, or has ended.
        """
        with self.database.read() as db:
            held = _row_held_by(db, job)
        if not held.address.get("ready"):
            with self.database.write() as db:
                held = _row_held_by(db, job)
                held = _update(db, held, address={**held.address, "ready": True})
        return RollCall.of(held, self.nodes(held))

    def request(self, job_id: int, request: Literal["finish", "pause", "cancel"]) -> Job:
        """Request that a job finishes early and keeps its result, or saves and pauses or stops.

        A job that is not running is paused or cancelled at once.

        Raises:
            JobError: it has ended, or has not started and thus cannot finish early.
        """
        with self.database.write() as db:
            job = _find_leader(db, job_id)
            if job.state in ENDED:
                raise JobError(f"Job {job_id} has already ended ({job.state}); there is nothing to {request}.")
            if job.state in ACTIVE:
                asked = _update(db, job, request=max(job.request, request, key=_REQUEST_RANK.index))
                groups.pass_on_request(db, asked)
                return asked
            if request == "finish":
                raise JobError(f"Job {job_id} is {job.state} and has no result yet; `camelid jobs cancel {job_id}`.")
            why = "; its worker had died" if job.state == JobState.LOST else " before it started"
            return self._end_as_requested(db, job, request, why)

    def prioritise(self, job_id: int, priority: int) -> Job:
        """Give a job that waits another priority; the highest is begun first, and of equals the oldest.

        Raises:
            JobError: it runs already, or has ended.
        """
        with self.database.write() as db:
            job = _find_leader(db, job_id)
            if job.state not in (JobState.QUEUED, JobState.LOST):
                raise JobError(f"Job {job_id} is {job.state}; only a job that waits has a priority to change.")
            return _update(db, job, priority=priority)

    def retry(self, job_id: int) -> Job:
        """Queue a failed, cancelled, paused or lost job again; it resumes from what its attempts saved."""
        with self.database.write() as db:
            job = _find_leader(db, job_id)
            if job.state not in (JobState.FAILED, JobState.CANCELLED, JobState.PAUSED, JobState.LOST):
                died = f" If its process died, that shows {job.lease_seconds:g} s later." if job.state in ACTIVE else ""
                raise JobError(
                    f"Job {job_id} is {job.state}; only failed, cancelled, paused or lost jobs can be retried.{died}"
                )
            for needed in job.depends_on:
                _find(db, needed)
            return _transition(
                db, job, JobState.QUEUED, request="", retries=0, not_before=0.0, error="", error_kind="", ended=None
            )

    def delete(self, job_id: int, clear: Callable[[], object]) -> Job:
        """Delete the row of a job that has ended; `clear()` moves its files away, under the write lock.

        Until that is done nobody can retry the job. It must take no longer than a rename. Numbers are
        never reused.

        Raises:
            JobError: it is queued or runs.
        """
        with self.database.write() as db:
            job = _find_leader(db, job_id)
            if job.state not in ENDED:
                raise JobError(
                    f"Job {job_id} is {job.state}; only jobs that have ended can be deleted. "
                    f"`camelid jobs cancel {job_id}` stops it."
                )
            for waiting in _waiting_for(db, job_id):
                raise JobError(
                    f"Job {waiting.id} needs the result of job {job_id}; `camelid jobs cancel {waiting.id}` first."
                )
            db.execute("DELETE FROM job WHERE id = ? AND state = ? AND epoch = ?", (job.id, str(job.state), job.epoch))
            groups.delete_members(db, job)
            clear()
            return job

    # -- for workers

    def claim(
        self,
        worker: str,
        lease_seconds: float,
        only: int | None = None,
        machine: Resources | None = None,
        address: Mapping[str, Any] | None = None,
    ) -> Job | None:
        """Take the next queued job for which the machine has room, or the queued job `only`, whatever its time and
        whatever runs; None if there is none, or it waits for others. Without a `machine` there is always room. Who says
        at which `address` it is reached may get a node of a group; without it `only` runs alone."""
        claimant = Claimant(worker, machine, job_settings(self.path.parent), address or {})

        def chosen(db: sqlite3.Connection, now: Mapping[str, Any]) -> Choice | None:
            return next_job(db, now, claimant) if only is None else given_anyway(db, only, claimant)

        with self.database.read() as db:  # an idle worker must not lock out the others
            if (choice := chosen(db, self._now())) is None or choice.given is None:
                return None
        with self.database.write() as db:
            now = self._now()  # after the wait for the lock: what has become due meanwhile has its turn
            choice = chosen(db, now)
            if choice is None or choice.given is None:
                return None
            job = _find(db, choice.id)
            claimed = _transition(
                db, job, JobState.CLAIMED, epoch=job.epoch + 1, owner=worker, boot=now["boot"], process="",
                lease=now["now"] + lease_seconds, lease_seconds=lease_seconds, error="", error_kind="",
                assigned=choice.given if machine is not None else None,
                address=address if address and job.nodes > 1 else {},
            )  # fmt: skip
            if claimed.in_group and not claimed.leader:
                groups.open_members(db, claimed, self._next_number(db), now["wall"])
            return claimed

    def due(self, limit: int = 200) -> tuple[Job, ...]:
        """The jobs that could be claimed now, in the order in which they would be."""
        query = f"SELECT * FROM job WHERE {DUE} ORDER BY {ORDER} LIMIT :limit"  # noqa: S608 - constants
        values = {**self._now(), "limit": limit}
        with self.database.read() as db:
            return tuple(from_row(row) for row in db.execute(query, values))

    def adopt(self, job: Job) -> None:
        """Have a job of another table here under its own number, queued for the attempt that it is at there. What was
        here under that number is replaced."""
        copy = replace(
            job, state=JobState.QUEUED, epoch=job.epoch - 1, request="", owner="", process="", lease=0.0,
            not_before=0.0, earliest=0.0, depends_on=(), key=None, boot=self.clock.boot(),
        )  # fmt: skip
        with self.database.write() as db:
            db.execute("DELETE FROM job WHERE id = ?", (job.id,))
            db.execute(INSERT, to_values(copy)).fetchall()

    def start(self, job: Job, process: str = "") -> Job:
        """The claimed job runs now, in `process`."""
        with self.database.write() as db:
            return _transition(db, _row_held_by(db, job), JobState.RUNNING, process=process, started=self.clock.wall())

    def heartbeat(self, job: Job) -> Job:
        """Renew the lease; the job that is returned carries what people requested meanwhile.

        Raises:
            StaleAttempt: the job was given to another attempt, or has ended.
        """
        with self.database.write() as db:
            held = _row_held_by(db, job)
            return _update(db, held, lease=self.clock.now() + held.lease_seconds, boot=self.clock.boot())

    def measured(self, job: Job, needs: Needs, shrink: Callable[[Assignment], Assignment]) -> Job:
        """The running job has measured what it needs; `shrink` says what it keeps of what it was given."""
        with self.database.write() as db:
            held = _row_held_by(db, job)
            return _update(db, held, needs=needs, assigned=held.assigned and shrink(held.assigned))

    def finish(
        self,
        job: Job,
        state: JobState,
        *,
        error: str = "",
        error_kind: str = "",
        summary: Mapping[str, Any] | None = None,
    ) -> Job:
        """The attempt is over: failed, cancelled, paused, or succeeded without anything to publish."""
        with self.database.write() as db:
            ended = _transition(
                db, _row_held_by(db, job), state, error=error, error_kind=error_kind,
                summary=dict(summary or {}), ended=self.clock.wall(),
            )  # fmt: skip
            if groups.decides_for_all(ended, state):  # the first to say so in the table was the first
                leader = _find(db, ended.leader)
                why = f"Node {ended.rank}: {error}"
                _transition(db, leader, state, error=why, error_kind=error_kind, ended=self.clock.wall())
            return ended

    def publish(self, job: Job, place: Callable[[], Path], summary: Mapping[str, Any]) -> Job:
        """The attempt succeeded: `place()` moves its result to its final place and returns that.

        `place` runs under the write lock, after the epoch was checked: until it is done no other
        attempt can begin, so at most one ever publishes. It must take no longer than a rename.
        """
        with self.database.write() as db:
            held = _row_held_by(db, job)
            if held.leader:
                raise JobError(f"Node {held.rank} of job {held.leader} publishes nothing: node 0 does.")
            _check_transition(held, JobState.SUCCEEDED)  # before anything moves on disk
            return _transition(
                db, held, JobState.SUCCEEDED, published=str(place()), summary=dict(summary), ended=self.clock.wall()
            )

    def release(self, job: Job, wait_seconds: float = 0.0, why: str = "") -> Job:
        """Give the job back because the worker stops or misses others: queued at once, to be claimed after a wait, and
        not counted as a retry. Of a group all nodes are given back."""
        with self.database.write() as db:
            held = _row_held_by(db, job)
            held = _find(db, held.leader) if held.leader else held
            not_before = self.clock.now() + wait_seconds if wait_seconds else 0.0
            lost = _transition(db, held, JobState.LOST, not_before=not_before, boot=self.clock.boot(), error=why)
            return self._requeue(db, lost)

    def mark_lost(self, job: Job, why: str = "") -> Job:
        """The attempt vanished while its worker is alive; `why` is a sentence, where no worker died."""
        with self.database.write() as db:
            return self._mark_lost(db, _row_held_by(db, job), why)

    def try_again(self, job: Job, error: str, kind: str) -> Job:
        """The attempt failed, and another may not: queue the job again, to be begun after a while; of a group all
        nodes."""
        with self.database.write() as db:
            held = _row_held_by(db, job)
            if held.leader:
                held, error = _find(db, held.leader), f"Node {held.rank}: {error}"
            lost = _transition(db, held, JobState.LOST, boot=self.clock.boot(), process="")
            if lost.request in ("cancel", "pause"):
                return self._requeue(db, lost)
            wait = self._backoff[min(lost.retries, len(self._backoff) - 1)] if self._backoff else 0.0
            return _transition(
                db, lost, JobState.QUEUED, retries=lost.retries + 1, not_before=self.clock.now() + wait,
                error=error, error_kind=kind,
            )  # fmt: skip

    def sweep_lost(self) -> tuple[Job, ...]:
        """Mark jobs whose lease has expired as lost, and queue lost ones whose backoff is over."""
        query = (
            f"SELECT * FROM job WHERE ({_LEASE_EXPIRED})"  # noqa: S608 - a constant
            " OR (state = 'lost' AND (boot <> :boot OR not_before <= :now))"
        )
        values = self._now()
        with self.database.read() as db:
            if db.execute(query, values).fetchone() is None:
                return ()
        with self.database.write() as db:
            swept = []
            while (row := db.execute(query, values).fetchone()) is not None:  # one may take others of its group with it
                job = from_row(row)
                swept.append(self._requeue(db, job) if job.state == JobState.LOST else self._mark_lost(db, job))
            return tuple(swept)

    def has_expired_lease(self) -> bool:
        """Whether `sweep_lost` would take a job. A worker that just woke from suspend may still renew its lease."""
        with self.database.read() as db:
            return db.execute(f"SELECT 1 FROM job WHERE {_LEASE_EXPIRED}", self._now()).fetchone() is not None  # noqa: S608

    def _now(self) -> dict[str, Any]:
        return {"boot": self.clock.boot(), "now": self.clock.now(), "wall": self.clock.wall()}

    def _next_number(self, db: sqlite3.Connection) -> int:
        last = db.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'job'").fetchone()[0]
        return 1 + int(max(last or 0, highest_job_number(self.path.parent)))

    def _mark_lost(self, db: sqlite3.Connection, job: Job, why: str = "") -> Job:
        who = f"The worker of its node {job.rank}" if job.in_group else "Its worker"
        if job.leader:  # no group goes on without one of its nodes
            job = _find(db, job.leader)
        lost = _transition(db, job, JobState.LOST, boot=self.clock.boot())
        if lost.request in ("cancel", "pause"):
            return self._requeue(db, lost)
        if lost.retries >= len(self._backoff):
            error = (
                f"{f'{why} It was lost' if why else f'{who} died'} {lost.retries + 1} times; "
                f"see `camelid jobs logs {job.id}`, "
                f"then `camelid jobs retry {job.id}`."
            )
            return _transition(db, lost, JobState.FAILED, error=error, error_kind="lost", ended=self.clock.wall())
        wait = self._backoff[lost.retries]
        return _update(
            db, lost, retries=lost.retries + 1, not_before=self.clock.now() + wait,
            error_kind="lost", error=f"{f'{why} A worker' if why else f'{who} died; another'} takes it up again in "
            f"{wait:g} s, `camelid jobs retry {job.id}{'' if job.nodes > 1 else ' --here'}` at once.",
        )  # fmt: skip

    def _requeue(self, db: sqlite3.Connection, job: Job) -> Job:
        if job.request in ("cancel", "pause"):
            return self._end_as_requested(db, job, job.request, "; its worker had died")
        return _transition(db, job, JobState.QUEUED)

    def _end_as_requested(self, db: sqlite3.Connection, job: Job, request: str, why: str) -> Job:
        state = JobState.CANCELLED if request == "cancel" else JobState.PAUSED
        error = f"{state.capitalize()}{why}."
        return _transition(db, job, state, error=error, error_kind=str(state), ended=self.clock.wall())


def _find(db: sqlite3.Connection, job_id: int) -> Job:
    possible = job_id.bit_length() < 64  # SQLite has no larger numbers
    row = db.execute("SELECT * FROM job WHERE id = ?", (job_id,)).fetchone() if possible else None
    if row is None:
        raise JobError(f"There is no job {job_id}; `camelid jobs list --all` shows all.")
    return from_row(row)


def _find_leader(db: sqlite3.Connection, job_id: int) -> Job:
    """The job of that number, which is no member of a group: what is done to one node is done to all."""
    job = _find(db, job_id)
    if job.leader:
        raise JobError(f"Job {job_id} is node {job.rank} of job {job.leader}; give that number.")
    return job


def _waiting_for(db: sqlite3.Connection, job_id: int) -> Iterator[Job]:
    """The jobs that need the result of one: also those that run, for should their worker die they are begun again."""
    query = (
        "SELECT job.* FROM job, json_each(job.depends_on) AS needed WHERE needed.value = ? "
        "AND job.state IN ('queued', 'claimed', 'running', 'lost', 'paused') ORDER BY job.id"
    )
    return (from_row(row) for row in db.execute(query, (job_id,)))


def _row_held_by(db: sqlite3.Connection, job: Job) -> Job:
    """The current row, if this attempt still holds the job."""
    row = db.execute("SELECT * FROM job WHERE id = ? AND epoch = ?", (job.id, job.epoch)).fetchone()
    if row is None or row["state"] not in ACTIVE:
        raise StaleAttempt(f"Attempt {job.epoch} of job {job.id} does not hold the job any more.")
    return from_row(row)


def _check_transition(job: Job, state: JobState) -> None:
    if state not in TRANSITIONS[job.state]:
        raise JobError(f"Job {job.id} is {job.state}; it cannot become {state}.")


def _transition(db: sqlite3.Connection, job: Job, state: JobState, **changes: Any) -> Job:
    _check_transition(job, state)
    if state not in ACTIVE:
        changes = {"owner": "", "lease": 0.0, **changes}
        if job.nodes > 1 and not job.leader:
            groups.end_members(db, job, state == JobState.SUCCEEDED)
    return _update(db, job, state=state, **changes)


def _update(db: sqlite3.Connection, job: Job, **changes: Any) -> Job:
    """The one statement that changes a row, and only if state and epoch are still `job`'s (compare-and-swap)."""
    values = to_values(replace(job, **changes)) | {"was": str(job.state), "at": job.epoch}
    rows = db.execute(UPDATE, values).fetchall()
    if len(rows) != 1:
        raise StaleAttempt(f"Job {job.id} was changed by someone else meanwhile.")
    return from_row(rows[0])
