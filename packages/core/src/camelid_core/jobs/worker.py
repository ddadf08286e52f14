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
from functools import partial
from pathlib import Path

from camelid_core import staging
from camelid_core.durable_directories import fsync_directory
from camelid_core.errors import CamelidError, ConfigError, JobError, StaleAttempt
from camelid_core.file_permissions import PRIVATE_DIRECTORY_MODE, make_private_directory

from .attempt_result import AttemptResult, Outcome
from .claims import crowding
from .database import ChangeMark, TableUnavailable
from .detached import PREEMPTED
from .detached_handle import ClusterUnreachable
from .executors import AttachesAttempts, AttemptHandle, Executor, LocalExecutor
from .groups import PEER_LOST
from .job import Job, JobState
from .job_threads import JobThreads
from .killed_processes import true_cause
from .lease import JobLease
from .measured_memory import note_memory
from .oom_kills import count_oom_kills
from .presence import WorkerPresence
from .publication import Verify, publish, unpublished_success
from .rendezvous import MEET_SECONDS, NodeAddress, Rendezvous, await_cause, meet, refuse_alone
from .resources import Resources
from .resume_point import resume_hint
from .retention import IdleRetention
from .retry_policy import may_be_tried_again
from .run_directories import OUTPUT, attempt_directory, earlier_attempts, keep_records
from .start_conditions import waits_for
from .stop_signals import StopSignal
from .store import JobStore
from .strays import kill_strays
from .supervision import SAVE_SECONDS, EventRelay, OnEvent, supervise

ExecutorFor = Callable[[Job], Executor]

_IDLE_SECONDS = 1.0
_LOOK_SECONDS = 0.1
_MAX_FAILURES_IN_A_ROW = 3


class Worker:
    """Runs at most `jobs` jobs at a time, and no more than `machine` has room for (None: always room).

    `jobs` None: as many as there is room for. `executor_for` says where a job runs (default: its recipe's
    `launch.executor`, else locally); `verify` raises if a directory is not what its manifest says. With `tries_again` a
    job is queued again after errors where that may help.
    """

    def __init__(
        self,
        store: JobStore,
        executor_for: ExecutorFor | None = None,
        verify: Verify | None = None,
        lease_seconds: float = 30.0,
        heartbeat_seconds: float = 5.0,
        save_seconds: float = SAVE_SECONDS,
        jobs: int | None = 1,
        machine: Resources | None = None,
        meet_seconds: float = MEET_SECONDS,
        tries_again: bool = True,
    ) -> None:
        self.store = store
        self.home = store.path.parent
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._executor_for = executor_for or chosen_executor
        self._verify = verify or _verify_artefact
        self._lease_seconds = lease_seconds
        self._beat_seconds = heartbeat_seconds
        self._save_seconds = save_seconds
        self._jobs = jobs
        self._machine = machine
        self._retention = IdleRetention(store)
        self._meet_seconds = meet_seconds
        self._tries_again = tries_again

    def run_forever(self, stop: StopSignal) -> None:
        """Work until `stop`; running jobs then save and are queued again for the next worker."""
        failures = 0
        staging.sweep_below(self.home)
        kill_strays(self.store)  # a worker that was killed in `_sweep` could not
        with (
            WorkerPresence(self.store, self.name, self._machine),
            ChangeMark(self.store.database) as mark,
            JobThreads(self._jobs) as threads,
        ):
            while not stop:
                mark.changed()  # before looking: what changes from now on is seen
                try:
                    threads.collect()
                    begun = threads.has_room and self._begin_next(threads, stop)
                    failures = 0
                except (TableUnavailable, ConfigError) as error:
                    failures += 1
                    if failures == _MAX_FAILURES_IN_A_ROW:
                        raise
                    sys.stderr.write(f"camelid worker: {error}\n")
                    begun = False
                if not begun:
                    if threads.idle:
                        self._prune()
                    _wait(lambda: stop or threads.any_ended or (threads.has_room and mark.changed()))

    def _begin_next(self, threads: JobThreads, stop: StopSignal) -> bool:
        self._sweep()
        job = self._claim()
        if job is not None:
            threads.start(partial(self._run_under_lease, job, stop))
        return job is not None

    def _claim(self) -> Job | None:
        address = NodeAddress.own().as_values()
        return self.store.claim(self.name, self._lease_seconds, machine=self._machine, address=address)

    def _prune(self) -> None:
        with suppress(TableUnavailable, ConfigError):  # the next look at the table tells
            if deleted := self._retention():
                freed = sum(each.size for each in deleted) / 1e6
                sys.stderr.write(f"camelid worker: {len(deleted)} ended jobs were deleted; {freed:,.1f} MB are free.\n")

    def run_once(self, stop: StopSignal | None = None) -> Job | None:
        """Run the next job, if there is one, and return it as it is afterwards."""
        self._sweep()
        job = self._claim()
        return None if job is None else self._run_under_lease(job, StopSignal() if stop is None else stop)

    def run_job(self, job_id: int, on_event: OnEvent | None = None, stop: StopSignal | None = None) -> Job:
        """Run one queued job in the foreground; `stop` cancels it, so that no other worker resumes it."""
        self._sweep()
        refuse_alone(self.store.get(job_id).config)
        job = self.store.claim(self.name, self._lease_seconds, only=job_id, machine=self._machine)
        if job is None:
            job = self.store.get(job_id)
            waits = waits_for(self.store, replace(job, earliest=0.0))
            raise JobError(f"Job {job_id} is {job.state}{f', {waits}' if waits else '; only a queued job can be run'}.")
        if on_event is not None and self._machine is not None:
            with self.store.database.read() as db:
                why = crowding(db, job.id, job.needs, self._machine)
            if why:
                on_event({"kind": "log", "text": f"It begins at once, although there is no room for it: {why}."})
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
            except ClusterUnreachable as error:
                with suppress(StaleAttempt):
                    return self.store.mark_lost(job, str(error))
                return self.store.get(job.id)
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
        attached = attach_to_running(executor, job, directory)
        goes_on = None if attached is None else attached[0]
        clear_earlier_attempts(directory, executor, only_records=bool(job.leader), goes_on=goes_on)
        success = None if job.leader else unpublished_success(self.home, job.id)
        if success is not None:
            return publish(self.store, self.store.start(job), *success, self._verify)
        if job.in_group:
            rendezvous = meet(self.store, lease, stop, self._meet_seconds)
            if rendezvous is None:
                return self._record_end(job, AttemptResult(Outcome.SAVED), stop)
            executor = on_node(executor, rendezvous)
        kills = count_oom_kills()
        directory, handle = attached or self._start(executor, job, directory)
        relay = EventRelay(directory, on_event, partial(note_memory, self.store, job))
        code = self._supervise(handle, lease, stop, relay, cancel_on_stop)
        if job.leader:
            keep_records(directory)
        if stop and cancel_on_stop:
            with suppress(JobError):  # it ran in the foreground: no other worker shall resume it unasked
                self.store.request(job.id, "cancel")
        if code is None and stop and not lease.lost:
            return self.store.release(job)  # it goes on, and the next worker attaches itself to it
        if code is None:
            raise StaleAttempt(f"Job {job.id} was taken over.")
        return self._record_result(lease, directory, code, count_oom_kills() > kills, stop, not cancel_on_stop)

    def _record_result(
        self, lease: JobLease, directory: Path, code: int, oom_killed: bool, stop: StopSignal, again: bool
    ) -> Job:
        """Record how an attempt ended, and publish what it made; with `again` the job may be tried again by itself."""
        job = lease.job
        result = AttemptResult.read(directory) or AttemptResult.from_exit_code(code, directory, oom_killed)
        if job.in_group and result.kind == PEER_LOST:
            await_cause(lease)
        if result.how != Outcome.SUCCEEDED:
            return self._record_end(job, true_cause(result, oom_killed), stop, again and self._tries_again)
        if job.leader:
            return self.store.finish(job, JobState.SUCCEEDED, summary=result.summary)
        return publish(self.store, job, directory, result, self._verify)

    def _supervise(
        self, handle: AttemptHandle, lease: JobLease, stop: StopSignal, relay: EventRelay, cancel_on_stop: bool
    ) -> int | None:
        """The attempt's exit code; None if it goes on without this worker."""
        outlives, code = getattr(handle, "outlives_worker", False), None
        try:
            self.store.start(lease.job, handle.identity)
            leave = outlives and not cancel_on_stop
            code = supervise(handle, lease, stop, relay, self._save_seconds, leave)
        finally:
            if code is not None or not outlives:
                handle.kill()
        return code

    def _start(self, executor: Executor, job: Job, directory: Path) -> tuple[Path, AttemptHandle]:
        make_private_directory(directory.parent, self.home)
        directory.mkdir(PRIVATE_DIRECTORY_MODE)
        fsync_directory(directory.parent)  # or a power cut takes it, with all that was saved in it
        return directory, executor.start(job, directory)

    def _record_end(self, job: Job, result: AttemptResult, stop: StopSignal, again: bool = False) -> Job:
        """Record the end of an attempt that did not succeed; with `again` the job may be tried again by itself."""
        _delete_incomplete_output(attempt_directory(self.home, job.id, job.epoch))
        request = self.store.get(job.id).request
        if request in ("cancel", "pause"):
            return self._record_stopped(job, result, JobState.CANCELLED if request == "cancel" else JobState.PAUSED)
        if result.how == Outcome.FENCED:
            return self.store.mark_lost(job, result.message)
        if (stop and result.how in (Outcome.SAVED, Outcome.KILLED)) or result.kind == PREEMPTED:
            return self.store.release(job)
        if result.how == Outcome.SAVED and job.in_group:  # with all other nodes, one of which was asked to stop
            if job.leader:
                return self.store.finish(job, JobState.CANCELLED, error="It left with the other nodes.")
            return self.store.release(job)
        if result.how == Outcome.SAVED:
            message = f"It was asked from outside to stop, and left. {resume_hint(self.home, job.id)}"
            return self.store.finish(job, JobState.PAUSED, error=message, error_kind="interrupted")
        if again and may_be_tried_again(self.store.get(job.leader or job.id), result.kind):
            return self.store.try_again(job, result.message, result.kind)
        state = JobState.PAUSED if result.how == Outcome.DISK_FULL else JobState.FAILED
        return self.store.finish(job, state, error=result.message, error_kind=result.kind)

    def _record_stopped(self, job: Job, result: AttemptResult, state: JobState) -> Job:
        late = "" if result.how == Outcome.SAVED else "; it did not leave in time and was ended"
        message = f"{state.capitalize()}{late}. {resume_hint(self.home, job.leader or job.id)}"
        return self.store.finish(job, state, error=message, error_kind=str(state))


def chosen_executor(job: Job) -> Executor:
    """The executor that the recipe names in `[launch] executor`; without one, a local child process."""
    launch = job.config.get("launch")
    name = launch.get("executor") if isinstance(launch, dict) else None
    if not name or name == LocalExecutor.name:
        return LocalExecutor()
    from camelid_core.plugins import load_host

    return load_host().executors[name]  # type: ignore[no-any-return]


def _wait(until: Callable[[], object]) -> None:
    """Wait for a second, or until there may be something to do."""
    end = time.monotonic() + _IDLE_SECONDS
    while time.monotonic() < end and not until():
        time.sleep(_LOOK_SECONDS)


def on_node(executor: Executor, rendezvous: Rendezvous) -> Executor:
    """The executor of an attempt that meets the other nodes of its group there."""
    assert isinstance(executor, LocalExecutor), "a job of another executor is no group"
    return executor.with_variables(rendezvous.variables())


def clear_earlier_attempts(
    directory: Path, executor: Executor, only_records: bool = False, goes_on: Path | None = None
) -> None:
    """Kill what attempts before this one left running, and delete what they left half-written, or all but their
    records; but for the one that `goes_on`."""
    for earlier in earlier_attempts(directory):
        if earlier == goes_on:
            continue
        executor.kill_leftovers(earlier)
        _delete_incomplete_output(earlier)
        if only_records:
            keep_records(earlier)


def attach_to_running(executor: Executor, job: Job, directory: Path) -> tuple[Path, AttemptHandle] | None:
    """The newest attempt before the one in `directory`, with its handle, if it still runs and the job can go on with
    it."""
    for earlier in earlier_attempts(directory)[:1]:
        if isinstance(executor, AttachesAttempts) and (handle := executor.attach(job, earlier)) is not None:
            return earlier, handle
    return None


def _delete_incomplete_output(attempt: Path) -> None:
    """Delete what an attempt that was killed while writing its output left: half a model only takes disk space."""
    result = AttemptResult.read(attempt)
    if result is None or result.how != Outcome.SUCCEEDED:
        shutil.rmtree(attempt / OUTPUT, ignore_errors=True)
    staging.sweep_below(attempt)


def _verify_artefact(directory: Path) -> object:
    from camelid_core.artefacts import verify_directory

    return verify_directory(directory)
