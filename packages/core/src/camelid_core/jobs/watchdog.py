"""The watchdog: a thread in the attempt that polls the job's row to see whether the attempt still holds the job.

Knows the epoch and the lease. It passes on what people request, ends an attempt whose worker died
or that another one replaced, and keeps the log from filling the disk. Knows nothing of the task.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from camelid_core.errors import JobError
from camelid_core.tasks import StopRequest

from .attempt_result import ExitCode
from .detached_order import BeatenLease
from .job import ACTIVE, Job, JobRequest
from .store import JobStore

_LOG_BYTES = 50_000_000
_GRACE_SECONDS = 20.0
_STDOUT = 1
_STOP_REQUESTS: dict[JobRequest, StopRequest] = {
    "": "", "finish": "finish", "pause": "save", "cancel": "save",
}  # fmt: skip


class Watchdog(threading.Thread):
    """`fenced` once another attempt holds the job, or the lease has expired."""

    def __init__(self, store: JobStore | BeatenLease, job: Job, request_stop: Callable[[StopRequest], None]) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._store = store
        self._job = job
        self._request_stop = request_stop
        self._interval = min(2.0, job.lease_seconds / 4)
        self._grace_seconds = min(_GRACE_SECONDS, job.lease_seconds * 2 / 3)
        self._exit_code: int | None = None
        self.fenced = False

    def task_ended(self, exit_code: int) -> None:
        """The task has ended; should the interpreter hang at exit, the watchdog kills it."""
        self._exit_code = exit_code

    def run(self) -> None:
        failures = 0
        while self._exit_code is None:
            time.sleep(self._interval)
            cap_log(_STDOUT, _LOG_BYTES)
            # twice in a row: after a suspend the worker gets the time to renew its lease
            failures = 0 if self._holds_job() else failures + 1
            if failures >= 2:
                self.fenced = True
                self._request_stop("save")
                time.sleep(self._grace_seconds)
                _exit_with_children(ExitCode.FENCED)
        time.sleep(_GRACE_SECONDS)
        _exit_with_children(self._exit_code)

    def _holds_job(self) -> bool:
        with suppress(JobError):  # unreadable for a while: the last known lease decides
            job = self._store.get(self._job.id)
            if job.epoch != self._job.epoch or job.state not in ACTIVE:
                return False
            self._job = job
            self._request_stop(_STOP_REQUESTS[job.request])
        clock = self._store.clock
        return self._job.boot == clock.boot() and self._job.lease >= clock.now()


def cap_log(descriptor: int, limit: int) -> None:
    """Truncate a log that was opened for appending to half its limit, and say so in it."""
    with suppress(OSError):
        if os.fstat(descriptor).st_size > limit:
            os.ftruncate(descriptor, limit // 2)
            os.write(descriptor, f"\n[the log was over {limit // 1_000_000} MB; the rest was cut here]\n".encode())


def _exit_with_children(exit_code: int) -> None:
    import psutil  # an attempt starts sooner without it

    with suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
    os._exit(exit_code)
