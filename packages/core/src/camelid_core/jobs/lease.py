"""The lease on a job: a thread that renews it (heartbeat) and reads what people request meanwhile.

Knows the table. Knows nothing of processes. Renewing goes on while a child trains, while gigabytes
are verified and while the caller waits for anything else.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self

from camelid_core.errors import JobError, StaleAttempt

from .clock import Clock
from .job import Job

_POLL_SECONDS = 1.0


class LeaseStore(Protocol):
    """A job table, of this machine or of another."""

    @property
    def clock(self) -> Clock: ...

    def heartbeat(self, job: Job, /) -> Job: ...

    def get(self, job_id: int, /) -> Job: ...


class JobLease:
    """While entered, the claimed `job` stays ours, unless `lost` says otherwise."""

    def __init__(self, store: LeaseStore, job: Job, heartbeat_seconds: float) -> None:
        self._store = store
        self._job = job
        self._heartbeat = min(heartbeat_seconds, job.lease_seconds / 4)
        self._give_up_seconds = job.lease_seconds * 5 / 6  # 25 of 30 s
        self._renewed = store.clock.now()
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_over, name=f"lease of job {job.id}", daemon=True)
        self.lost = False

    @property
    def job(self) -> Job:
        """The row as last seen."""
        return self._job

    def is_lost(self) -> bool:
        return self.lost

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._released.set()
        self._thread.join()

    def _renew_until_over(self) -> None:
        while not self.lost and not self._released.wait(min(_POLL_SECONDS, self._heartbeat)):
            try:
                self._renew_or_refresh()
            except StaleAttempt:
                self.lost = True
            except JobError:
                # locked or unreadable; after 25 s without renewal another worker may take the job
                self.lost = self._store.clock.now() - self._renewed > self._give_up_seconds

    def _renew_or_refresh(self) -> None:
        now = self._store.clock.now()
        if now - self._renewed >= self._heartbeat:
            self._job = self._store.heartbeat(self._job)
            self._renewed = now
        else:
            with suppress(JobError):  # the next heartbeat tells whether this matters
                job = self._store.get(self._job.id)
                self._job = job if job.epoch == self._job.epoch else self._job
