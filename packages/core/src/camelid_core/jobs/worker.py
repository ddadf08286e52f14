"""The worker: claim a job, run its attempt as a child process, publish the result.

Knows the order of steps. Knows nothing of what tasks do, and has no state of its own: kill it at any
moment and another worker goes on from the table and the attempt's directory.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from camelid_core import staging
from camelid_core.durable_directories import fsync_directory
from camelid_core.errors import CamelidError, JobError, StaleAttempt
from camelid_core.file_permissions import PRIVATE_DIRECTORY_MODE, make_private_directory

from .attempt_result import AttemptResult, Outcome
from .database import TableUnavailable
from .executors import Executor, LocalExecutor
from .job import Job, JobState
from .lease import JobLease
from .oom_kills import count_oom_kills
from .presence import WorkerPresence
from .publication import Verify, publish, unpublished_success
from .resume_point import resume_hint
from .run_directories import OUTPUT, attempt_directory, earlier_attempts
from .start_conditions import waits_for
from .stop_signals import StopSignal
from .store import JobStore
from .strays import kill_strays
from .supervision import SAVE_SECONDS, EventRelay, OnEvent, supervise

ExecutorFor = Callable[[Job], Executor]

_IDLE_SECONDS = 1.0
_MAX_FAILURES_IN_A_ROW = 3


class Worker:
    """Runs one job at a time; start several workers for several.

    `executor_for` says where a job runs (default: its recipe's `launch.executor`, else locally);
    `verify` raises if a directory is not what its manifest says.
    """

    def __init__(
        self,
        store: JobStore,
        executor_for: ExecutorFor | None = None,
        verify: Verify | None = None,
        lease_seconds: float = 30.0,
        heartbeat_seconds: float = 5.0,
        save_seconds: float = SAVE_SECONDS,
    ) -> None:
        self.store = store
        self.home = store.path.parent
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._executor_for = executor_for or chosen_executor
        self._verify = verify or _verify_artefact
        self._lease_seconds = lease_seconds
        self._beat_seconds = heartbeat_seconds
        self._save_seconds = save_seconds

    def run_forever(self, stop: StopSignal) -> None:
        """Work until `stop`; the running job then saves and is queued again for the next worker."""
        failures = 0
        staging.sweep_below(self.home)
        kill_strays(self.store)  # a worker that was killed in `_sweep` could not
        with WorkerPresence(self.store, self.name):
            while not stop:
                try:
                    idle = self.run_once(stop) is None
                    failures = 0
                except TableUnavailable as error:
                    failures += 1
                    if failures == _MAX_FAILURES_IN_A_ROW:
                        raise
                    sys.stderr.write(f"camelid worker: {error}\n")
                    idle = True
                if idle and not stop:
                    time.sleep(_IDLE_SECONDS)

    def run_once(self, stop: StopSignal | None = None) -> Job | None:
        """Run the next job, if there is one, and return it as it is afterwards."""
        self._sweep()
        job = self.store.claim(self.name, self._lease_seconds)
        return None if job is None else self._run_under_lease(job, StopSignal() if stop is None else stop)

    def run_job(self, job_id: int, on_event: OnEvent | None = None, stop: StopSignal | None = None) -> Job:
        """Run one queued job in the foreground; `stop` cancels it, so that no other worker resumes it."""
        self._sweep()
        job = self.store.claim(self.name, self._lease_seconds, only=job_id)
        if job is None:
            job = self.store.get(job_id)
            waits = waits_for(self.store, replace(job, earliest=0.0))
            raise JobError(f"Job {job_id} is {job.state}{f', {waits}' if waits else '; only a queued job can be run'}.")
        return self._run_under_lease(job, StopSignal() if stop is None else stop, on_event, cancel_on_stop=True)

    def _sweep(self) -> None:
        """Take back what dead workers held, and end what they left running."""
        if self.store.sweep_lost():
            kill_strays(self.store)

    def run_claimed(self, job: Job, stop: StopSignal) -> Job:
        """Run a job that was claimed under this worker's name; after `stop` it is queued again."""
        return self._run_under_lease(job, stop)

    def _run_under_lease(
        self, job: Job, stop: StopSignal, on_event: OnEvent | None = None, cancel_on_stop: bool = False
    ) -> Job:
        with JobLease(self.store, job, self._beat_seconds) as lease:
            try:
                return self._run_attempt(lease, stop, on_event, cancel_on_stop)
            except StaleAttempt:
                return self.store.get(job.id)
            except TableUnavailable:
                raise
            except Exception as error:  # any other error ends the job, not the worker
                if not isinstance(error, CamelidError):
                    traceback.print_exc()
                with suppress(StaleAttempt):
                    return self._record_end(job, AttemptResult.from_exception(error), stop)
                return self.store.get(job.id)

    def _run_attempt(self, lease: JobLease, stop: StopSignal, on_event: OnEvent | None, cancel_on_stop: bool) -> Job:
        job = lease.job
        directory = attempt_directory(self.home, job.id, job.epoch)
        executor = self._executor_for(job)
        clear_earlier_attempts(directory, executor)
        success = unpublished_success(self.home, job.id)
        if success is not None:
            return publish(self.store, self.store.start(job), *success, self._verify)
        make_private_directory(directory.parent, self.home)
        directory.mkdir(PRIVATE_DIRECTORY_MODE)
        fsync_directory(directory.parent)  # or a power cut takes it, with all that was saved in it
        kills = count_oom_kills()
        handle = executor.start(job, directory)
        try:
            self.store.start(job, handle.identity)
            code = supervise(handle, lease, stop, EventRelay(directory, on_event), self._save_seconds)
        finally:
            handle.kill()
        if stop and cancel_on_stop:
            with suppress(JobError):  # it ran in the foreground: no other worker shall resume it unasked
                self.store.request(job.id, "cancel")
        if code is None:
            raise StaleAttempt(f"Job {job.id} was taken over.")
        result = AttemptResult.read(directory) or AttemptResult.from_exit_code(
            code, directory, count_oom_kills() > kills
        )
        if result.how == Outcome.SUCCEEDED:
            return publish(self.store, job, directory, result, self._verify)
        return self._record_end(job, result, stop)

    def _record_end(self, job: Job, result: AttemptResult, stop: StopSignal) -> Job:
        """Record the end of an attempt that did not succeed."""
        _delete_incomplete_output(attempt_directory(self.home, job.id, job.epoch))
        request = self.store.get(job.id).request
        if request in ("cancel", "pause"):
            return self._record_stopped(job, result, JobState.CANCELLED if request == "cancel" else JobState.PAUSED)
        if result.how == Outcome.FENCED:
            return self.store.mark_lost(job)
        if stop and result.how in (Outcome.SAVED, Outcome.KILLED):
            return self.store.release(job)
        if result.how == Outcome.SAVED:
            message = f"It was asked from outside to stop, and left. {resume_hint(self.home, job.id)}"
            return self.store.finish(job, JobState.PAUSED, error=message, error_kind="interrupted")
        state = JobState.PAUSED if result.how == Outcome.DISK_FULL else JobState.FAILED
        return self.store.finish(job, state, error=result.message, error_kind=result.kind)

    def _record_stopped(self, job: Job, result: AttemptResult, state: JobState) -> Job:
        late = "" if result.how == Outcome.SAVED else "; it did not leave in time and was ended"
        message = f"{state.capitalize()}{late}. {resume_hint(self.home, job.id)}"
        return self.store.finish(job, state, error=message, error_kind=str(state))


def chosen_executor(job: Job) -> Executor:
    """The executor that the recipe names in `[launch] executor`; without one, a local child process."""
    launch = job.config.get("launch")
    name = launch.get("executor") if isinstance(launch, dict) else None
    if not name or name == LocalExecutor.name:
        return LocalExecutor()
    from camelid_core.plugins import load_host

    return load_host().executors[name]  # type: ignore[no-any-return]


def clear_earlier_attempts(directory: Path, executor: Executor) -> None:
    """Kill what attempts before this one left running, and delete what they left half-written."""
    for earlier in earlier_attempts(directory):
        executor.kill_leftovers(earlier)
        _delete_incomplete_output(earlier)


def _delete_incomplete_output(attempt: Path) -> None:
    """Delete what an attempt that was killed while writing its output left: half a model only takes disk space."""
    result = AttemptResult.read(attempt)
    if result is None or result.how != Outcome.SUCCEEDED:
        shutil.rmtree(attempt / OUTPUT, ignore_errors=True)
    staging.sweep_below(attempt)


def _verify_artefact(directory: Path) -> object:
    from camelid_core.artefacts import verify_directory

    return verify_directory(directory)
