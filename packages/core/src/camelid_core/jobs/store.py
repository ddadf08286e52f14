"""The job queue: one table is the single source of truth about what is queued, running and done.

Knows states, epochs (fencing tokens) and leases, and changes a state by one conditional statement
only (compare-and-swap). Knows nothing of processes or tasks, and of directories only which job numbers
they use. Accepted means committed to disk.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from camelid_core.errors import JobError, StaleAttempt
from camelid_core.paths import safe_name

from .clock import Clock
from .database import Database
from .job import ACTIVE, ENDED, TRANSITIONS, Job, JobState
from .job_rows import INSERT, SCHEMA, UPDATE, VERSION, from_row, to_values
from .run_directories import highest_job_number

_LEASE_EXPIRED = "state IN ('claimed', 'running') AND (boot <> :boot OR lease < :now)"


class JobStore:
    """Jobs in one SQLite file. Every method may be called from any thread.

    `backoff` are the seconds that a lost job waits before its first, second … retry; after the
    last one it has failed.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock | None = None,
        backoff: tuple[float, ...] = (10.0, 20.0, 40.0),
        busy_seconds: float = 30.0,
    ) -> None:
        self.path = path
        self.clock = clock or Clock()
        self._backoff = backoff
        self.database = Database(path, SCHEMA, VERSION, busy_seconds)

    # -- for people and pages

    def submit(
        self,
        task: str,
        config: Mapping[str, Any],
        name: str = "",
        priority: int = 0,
        key: str | None = None,
        hold_seconds: float = 0.0,
    ) -> Job:
        """Queue a job; when this returns, it is on disk.

        `key` is an idempotency key: the same key gives the same job, so that a repeated click submits
        once. For `hold_seconds` only `claim(only=…)` may take the job. Its number is above all earlier
        ones, those of a table that was moved away included: their directories belong to other jobs.

        Raises:
            UsageError: the name is not valid for a directory.
            JobError: the key was used for something else, or the table cannot be written.
        """
        if name:
            safe_name(name, "job name")
        now = self.clock.now()
        job = Job(
            id=0, task=task, config=json.loads(json.dumps(config)), name=name, priority=priority, key=key,
            boot=self.clock.boot(), not_before=now + hold_seconds if hold_seconds else 0.0, created=self.clock.wall(),
        )  # fmt: skip
        with self.database.write() as db:
            row = db.execute("SELECT * FROM job WHERE key = ?", (key,)).fetchone() if key is not None else None
            if row is None:
                last = db.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'job'").fetchone()[0]
                number = 1 + max(last or 0, highest_job_number(self.path.parent))
                row = db.execute(INSERT, to_values(replace(job, id=number))).fetchall()[0]
        stored = from_row(row)
        if (stored.task, stored.config) != (job.task, job.config):
            raise JobError(f"The key {key!r} belongs to job {stored.id}, which is something else; use a new key.")
        return stored

    def get(self, job_id: int) -> Job:
        with self.database.read() as db:
            return _find(db, job_id)

    def list(self, states: Iterable[JobState] | None = None, limit: int = 100) -> list[Job]:
        """Jobs in these states (or all), the newest first."""
        wanted = json.dumps([str(state) for state in (JobState if states is None else states)])
        query = "SELECT * FROM job WHERE state IN (SELECT value FROM json_each(?)) ORDER BY id DESC LIMIT ?"
        with self.database.read() as db:
            return [from_row(row) for row in db.execute(query, (wanted, limit))]

    def request(self, job_id: int, request: Literal["finish", "cancel"]) -> Job:
        """Request that a job finishes early and keeps its result, or saves and stops.

        A job that is not running is cancelled at once. `cancel` outranks `finish`.

        Raises:
            JobError: it has ended, or has not started and thus cannot finish early.
        """
        with self.database.write() as db:
            job = _find(db, job_id)
            if job.state in ENDED:
                raise JobError(f"Job {job_id} has already ended ({job.state}); there is nothing to {request}.")
            if job.state in ACTIVE:
                return _update(db, job, request="cancel" if job.request == "cancel" else request)
            if request == "finish":
                raise JobError(f"Job {job_id} is {job.state} and has no result yet; `camelid jobs cancel {job_id}`.")
            return self._cancel(
                db, job, "; its worker had died" if job.state == JobState.LOST else " before it started"
            )

    def retry(self, job_id: int) -> Job:
        """Queue a failed, cancelled, paused or lost job again; it resumes from what its attempts saved."""
        with self.database.write() as db:
            job = _find(db, job_id)
            if job.state not in (JobState.FAILED, JobState.CANCELLED, JobState.PAUSED, JobState.LOST):
                died = f" If its process died, that shows {job.lease_seconds:g} s later." if job.state in ACTIVE else ""
                raise JobError(
                    f"Job {job_id} is {job.state}; only failed, cancelled, paused or lost jobs can be retried.{died}"
                )
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
            job = _find(db, job_id)
            if job.state not in ENDED:
                raise JobError(
                    f"Job {job_id} is {job.state}; only jobs that have ended can be deleted. "
                    f"`camelid jobs cancel {job_id}` stops it."
                )
            db.execute("DELETE FROM job WHERE id = ? AND state = ? AND epoch = ?", (job.id, str(job.state), job.epoch))
            clear()
            return job

    # -- for workers

    def claim(self, worker: str, lease_seconds: float, only: int | None = None) -> Job | None:
        """Take the next queued job, or the queued job `only`; None if there is none."""
        now, boot = self.clock.now(), self.clock.boot()
        due = "SELECT * FROM job WHERE state = 'queued' AND (boot <> ? OR not_before <= ?) ORDER BY priority DESC, id"
        query, values = (due, (boot, now)) if only is None else ("SELECT * FROM job WHERE id = ?", (only,))
        with self.database.read() as db:  # an idle worker must not lock out the others
            if db.execute(query, values).fetchone() is None:
                return None
        with self.database.write() as db:
            row = db.execute(query, values).fetchone()
            if row is None or row["state"] != JobState.QUEUED:
                return None
            job = from_row(row)
            return _transition(
                db, job, JobState.CLAIMED, epoch=job.epoch + 1, owner=worker, boot=boot, process="",
                lease=now + lease_seconds, lease_seconds=lease_seconds, error="", error_kind="",
            )  # fmt: skip

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
            return _transition(
                db, _row_held_by(db, job), state, error=error, error_kind=error_kind,
                summary=dict(summary or {}), ended=self.clock.wall(),
            )  # fmt: skip

    def publish(self, job: Job, place: Callable[[], Path], summary: Mapping[str, Any]) -> Job:
        """The attempt succeeded: `place()` moves its result to its final place and returns that.

        `place` runs under the write lock, after the epoch was checked: until it is done no other
        attempt can begin, so at most one ever publishes. It must take no longer than a rename.
        """
        with self.database.write() as db:
            held = _row_held_by(db, job)
            _check_transition(held, JobState.SUCCEEDED)  # before anything moves on disk
            return _transition(
                db, held, JobState.SUCCEEDED, published=str(place()), summary=dict(summary), ended=self.clock.wall()
            )

    def release(self, job: Job) -> Job:
        """Give the job back because the worker stops: queued at once, and not counted as a retry."""
        with self.database.write() as db:
            return self._requeue(db, _transition(db, _row_held_by(db, job), JobState.LOST, not_before=0.0))

    def mark_lost(self, job: Job) -> Job:
        """The attempt vanished while its worker is alive."""
        with self.database.write() as db:
            return self._mark_lost(db, _row_held_by(db, job))

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
            jobs = [from_row(row) for row in db.execute(query, values).fetchall()]
            return tuple(
                self._requeue(db, job) if job.state == JobState.LOST else self._mark_lost(db, job) for job in jobs
            )

    def has_expired_lease(self) -> bool:
        """Whether `sweep_lost` would take a job. A worker that just woke from suspend may still renew its lease."""
        with self.database.read() as db:
            return db.execute(f"SELECT 1 FROM job WHERE {_LEASE_EXPIRED}", self._now()).fetchone() is not None  # noqa: S608

    def _now(self) -> dict[str, Any]:
        return {"boot": self.clock.boot(), "now": self.clock.now()}

    def _mark_lost(self, db: sqlite3.Connection, job: Job) -> Job:
        lost = _transition(db, job, JobState.LOST, boot=self.clock.boot())
        if lost.request == "cancel":
            return self._requeue(db, lost)
        if lost.retries >= len(self._backoff):
            error = (
                f"Its worker died {lost.retries + 1} times; see `camelid jobs logs {job.id}`, "
                f"then `camelid jobs retry {job.id}`."
            )
            return _transition(db, lost, JobState.FAILED, error=error, error_kind="lost", ended=self.clock.wall())
        wait = self._backoff[lost.retries]
        return _update(
            db, lost, retries=lost.retries + 1, not_before=self.clock.now() + wait,
            error_kind="lost", error=f"Its worker died; another takes it up again in {wait:g} s, "
            f"`camelid jobs retry {job.id} --here` at once.",
        )  # fmt: skip

    def _requeue(self, db: sqlite3.Connection, job: Job) -> Job:
        if job.request == "cancel":
            return self._cancel(db, job, "; its worker had died")
        return _transition(db, job, JobState.QUEUED)

    def _cancel(self, db: sqlite3.Connection, job: Job, why: str) -> Job:
        return _transition(db, job, JobState.CANCELLED, error=f"Cancelled{why}.", ended=self.clock.wall())


def _find(db: sqlite3.Connection, job_id: int) -> Job:
    possible = job_id.bit_length() < 64  # SQLite has no larger numbers
    row = db.execute("SELECT * FROM job WHERE id = ?", (job_id,)).fetchone() if possible else None
    if row is None:
        raise JobError(f"There is no job {job_id}; `camelid jobs list --all` shows all.")
    return from_row(row)


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
    return _update(db, job, state=state, **changes)


def _update(db: sqlite3.Connection, job: Job, **changes: Any) -> Job:
    """The one statement that changes a row, and only if state and epoch are still `job`'s (compare-and-swap)."""
    values = to_values(replace(job, **changes)) | {"was": str(job.state), "at": job.epoch}
    rows = db.execute(UPDATE, values).fetchall()
    if len(rows) != 1:
        raise StaleAttempt(f"Job {job.id} was changed by someone else meanwhile.")
    return from_row(rows[0])
