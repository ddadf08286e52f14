"""The rules that every executor keeps, as real attempts show them.

Knows executors, workers and the task of `contract_tasks`. Knows nothing of where an executor runs attempts: that one
has ended is seen from what it no longer writes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from camelid_core.events import read_events
from camelid_core.file_permissions import make_private_directory
from camelid_core.jobs.executors import AttachesAttempts, AttemptHandle, Executor
from camelid_core.jobs.job import ENDED, Job, JobState
from camelid_core.jobs.run_directories import EVENTS, LOG, attempt_directory
from camelid_core.jobs.store import JobStore
from camelid_core.jobs.worker import Worker

_LEASE_SECONDS = 120.0
_PATIENCE_SECONDS = 600.0
_LONG = 1_000_000
_QUIET_SECONDS = 1.5
"""Seconds in which a task that writes every 0.02 s writes something."""


def assert_executor_contract(executor: Executor, store: JobStore) -> None:
    """What every executor must hold, in the home of `store`; the task `count` must be known where attempts run
    (`CAMELID_PLUGINS=executor-contract==1=camelid_core.plugin_kit.contract_tasks`):

    - events, log and result lie in the attempt's directory, and `identity` says where it runs;
    - asked to save it leaves, and the next attempt goes on from what it saved; asked to finish it has a result;
    - one that does not leave is killed; so is what a worker that died left behind, and nothing of either goes on;
    - an error of the task is the job's, and a signal that ended it is told as that signal;
    - an attempt that outlives its worker is found again by its directory while it runs, and only then.
    """
    contract = _Contract(executor, store)
    contract.succeeds()
    contract.saves_and_goes_on()
    contract.finishes()
    contract.tells_why_it_failed()
    contract.kills_what_does_not_leave()
    contract.leaves_nothing_behind()


class _Contract:
    def __init__(self, executor: Executor, store: JobStore) -> None:
        self._executor = executor
        self._name = executor.name
        self._store = store

    def succeeds(self) -> None:
        job = self._run(upto=3)
        assert job.state == JobState.SUCCEEDED, f"{self._name}: a task that ends well is {job.state}: {job.error}"
        assert job.summary == {"first": 0, "counted": 3}, f"{self._name}: the summary came back as {job.summary}"
        assert job.process, f"{self._name}: identity is empty"
        directory = self._directory(job)
        done = [event.get("done") for event in read_events(directory / EVENTS)[0] if event["kind"] == "progress"]
        assert done == [1, 2, 3], f"{self._name}: the attempt's directory has the progress {done}"
        assert (directory / LOG).is_file(), f"{self._name}: the attempt's directory has no {LOG}"

    def saves_and_goes_on(self) -> None:
        job = self._run("pause", upto=_LONG)
        assert job.state == JobState.PAUSED, f"{self._name}: a paused job is {job.state}: {job.error}"
        counted = self._lines(self._directory(job))
        self._store.retry(job.id)
        again = self._work(job, "finish", counted)
        assert again.summary.get("first") == counted, (
            f"{self._name}: the next attempt began at {again.summary.get('first')}, and {counted} was saved"
        )

    def finishes(self) -> None:
        job = self._run("finish", upto=_LONG)
        assert job.state == JobState.SUCCEEDED, f"{self._name}: a job asked to finish is {job.state}: {job.error}"

    def tells_why_it_failed(self) -> None:
        refused = self._run(ends="refused")
        assert (refused.error_kind, refused.error) == ("data_error", "the task was told to refuse."), (
            f"{self._name}: an error of the task came back as {refused.error_kind!r}, {refused.error!r}"
        )
        killed = self._run(ends="killed")
        assert killed.error_kind == "killed_by_signal_9", (
            f"{self._name}: a task that signal 9 ended is told as {killed.error_kind!r}: {killed.error!r}"
        )
        if killed.state not in ENDED:  # it would be tried once more, in place of what is looked at next
            self._store.request(killed.id, "cancel")

    def kills_what_does_not_leave(self) -> None:
        job = self._run("cancel", save_seconds=0.5, upto=_LONG, stubborn=True)
        assert job.state == JobState.CANCELLED, f"{self._name}: a cancelled job is {job.state}: {job.error}"
        self._assert_quiet(self._directory(job), "after it was cancelled")

    def leaves_nothing_behind(self) -> None:
        job = self._claimed(upto=_LONG, stubborn=True)
        directory = self._directory(job)
        make_private_directory(directory, self._store.path.parent)
        handle = self._executor.start(job, directory)
        running = self._store.start(job, handle.identity)
        try:
            self._leftovers(running, directory, handle)
        finally:
            handle.kill()
            self._store.finish(running, JobState.FAILED)

    def _leftovers(self, running: Job, directory: Path, handle: AttemptHandle) -> None:
        self._await(lambda: self._lines(directory), handle)
        outlives, found = getattr(handle, "outlives_worker", False), self._attach(running, directory)
        assert (found is not None) == outlives, (
            f"{self._name}: attach found {found} where outlives_worker is {outlives}"
        )
        if found is not None:
            assert found.poll() is None, f"{self._name}: an attempt that runs has the code {found.poll()}"
        self._executor.kill_leftovers(directory)
        self._assert_quiet(directory, "after kill_leftovers")
        assert self._attach(running, directory) is None, f"{self._name}: attach found one that was killed"
        self._executor.kill_leftovers(directory)  # again: harmless

    def _attach(self, job: Job, directory: Path) -> AttemptHandle | None:
        return self._executor.attach(job, directory) if isinstance(self._executor, AttachesAttempts) else None

    def _run(self, request: Any = "", save_seconds: float = 20.0, **config: Any) -> Job:
        return self._work(self._store.submit("count", config), request, 0, save_seconds)

    def _work(self, job: Job, request: Any, beyond: int, save_seconds: float = 20.0) -> Job:
        """Run the job to its end, with a request once it has counted beyond a number."""
        worker = Worker(self._store, lambda _: self._executor, lease_seconds=_LEASE_SECONDS, save_seconds=save_seconds)
        thread = threading.Thread(target=worker.run_once)
        thread.start()
        if request:
            self._await(lambda: self._lines(self._directory(self._store.get(job.id))) > beyond)
            self._store.request(job.id, request)
        thread.join()
        return self._store.get(job.id)

    def _claimed(self, **config: Any) -> Job:
        self._store.submit("count", config)
        job = self._store.claim("contract", _LEASE_SECONDS)
        assert job is not None
        return job

    def _directory(self, job: Job) -> Path:
        return attempt_directory(self._store.path.parent, job.id, job.epoch)

    def _lines(self, directory: Path) -> int:
        """The number that was counted last."""
        try:
            lines = (directory / "count.txt").read_text(encoding="ascii").split()
        except FileNotFoundError:
            return 0
        return int(lines[-1]) if lines else 0

    def _await(self, condition: Callable[[], object], handle: AttemptHandle | None = None) -> None:
        end = time.monotonic() + _PATIENCE_SECONDS
        while not condition():
            code = handle.poll() if handle is not None else None
            assert code is None, f"{self._name}: the attempt ended with code {code}"
            assert time.monotonic() < end, f"{self._name}: an attempt did nothing for {_PATIENCE_SECONDS:g} s"
            time.sleep(0.05)

    def _assert_quiet(self, directory: Path, when: str) -> None:
        before = self._lines(directory)
        time.sleep(_QUIET_SECONDS)
        after = self._lines(directory)
        assert before == after, f"{self._name}: {when} the attempt went on from {before} to {after}"
