"""Who lost a job notices: the lease, the watchdog, the worker, and whoever finds what a dead worker left."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
from camelid_core.errors import JobError, StaleAttempt
from camelid_core.jobs import watchdog as watchdog_module
from camelid_core.jobs.attempt_result import ExitCode
from camelid_core.jobs.executors import LocalExecutor
from camelid_core.jobs.job import Job, JobState
from camelid_core.jobs.lease import JobLease
from camelid_core.jobs.process_identity import ATTEMPT_VARIABLE, new_mark
from camelid_core.jobs.run_directories import attempt_directory
from camelid_core.jobs.stop_signals import StopSignal
from camelid_core.jobs.supervision import EventRelay, supervise
from camelid_core.jobs.watchdog import Watchdog


class Unreadable:
    """A table of which every call ends with `error`, and its clock."""

    def __init__(self, error: JobError) -> None:
        self.error, self.time, self.calls = error, 100.0, 0
        self.clock = SimpleNamespace(now=lambda: self.time)

    def heartbeat(self, job: Job) -> Job:
        self.calls += 1
        raise self.error

    get = heartbeat


def test_who_cannot_renew_gives_up_before_the_lease_is_over(until):
    """After 25 of 30 s: until then it may be a table that was locked for a while."""
    store = Unreadable(JobError("locked"))
    with JobLease(store, Job(1, "tick", {}, lease_seconds=30), heartbeat_seconds=0.01) as lease:
        store.time += 24
        seen = store.calls
        until(lambda: store.calls > seen + 2)
        assert not lease.lost
        store.time += 2
        until(lambda: lease.lost)


def test_who_was_replaced_hears_it_at_the_next_heartbeat(until):
    store = Unreadable(StaleAttempt("another has it"))
    with JobLease(store, Job(1, "tick", {}, lease_seconds=30), heartbeat_seconds=0.01) as lease:
        store.time += 1
        until(lambda: lease.lost)


def test_a_worker_that_lost_its_job_ends_the_attempt(tmp_path):
    polls = iter([None, None, 0])
    handle = SimpleNamespace(poll=lambda: next(polls))
    lease = SimpleNamespace(lost=True, job=Job(1, "tick", {}))
    assert supervise(handle, lease, StopSignal(), EventRelay(tmp_path, None)) is None


def quick_watchdog(store, job, request_stop):
    watchdog = Watchdog(store, job, request_stop)
    watchdog._interval, watchdog._grace_seconds = 0.01, 0.0
    watchdog.start()
    return watchdog


def test_a_watchdog_sees_that_another_attempt_holds_the_job(store, until, monkeypatch):
    """Though by the clock its lease goes on."""
    left = []
    monkeypatch.setattr(watchdog_module, "_exit_with_children", left.append)
    monkeypatch.setattr(watchdog_module, "_GRACE_SECONDS", 0.0)
    store.submit("tick", {})
    job = store.claim("w", 3600)
    asked = []
    watchdog = quick_watchdog(store, job, asked.append)
    until(lambda: asked)
    assert not watchdog.fenced
    watchdog.task_ended(0)
    watchdog.join()
    left.clear()
    store.release(job)
    other = store.claim("other", 3600)  # which has a lease, too
    assert (other.id, other.epoch) == (job.id, job.epoch + 1)
    watchdog = quick_watchdog(store, job, asked.append)
    until(lambda: left)
    watchdog.task_ended(0)
    watchdog.join()  # before what ends this process is back in its place
    assert (watchdog.fenced, left[0]) == (True, ExitCode.FENCED)


@pytest.fixture
def attempt(store, home):
    """An attempt that goes on until it is stopped, started as a worker starts it; with its directory."""
    store.submit("tick", {"count": 100_000})
    job = store.claim("w", 3600)
    directory = attempt_directory(home, job.id, job.epoch)
    directory.mkdir(parents=True)
    handle = LocalExecutor("ticking").start(job, directory)
    yield handle
    handle.kill()


@pytest.mark.parametrize("change", ["epoch", "state"])
def test_an_attempt_that_does_not_hold_its_job_does_not_begin(store, home, change):
    """Its process began so late that the job was given to another, or cancelled."""
    store.submit("tick", {"count": 1})
    job = store.claim("w", 3600)
    attempt_directory(home, job.id, job.epoch).mkdir(parents=True)
    if change == "state":
        store.finish(job, JobState.CANCELLED)
    else:
        store.release(job)
        store.claim("other", 3600)
    command = [sys.executable, "-m", "ticking", "--home", str(home), str(job.id), str(job.epoch)]
    assert subprocess.run(command).returncode == ExitCode.FENCED
    assert list(attempt_directory(home, job.id, job.epoch).iterdir()) == []


def test_an_attempt_leads_a_group_of_its_own(attempt):
    pid = int(attempt.identity.removeprefix("pid "))
    assert os.getpgid(pid) == os.getsid(pid) == pid


def test_a_stop_request_that_comes_at_once_lets_the_attempt_save(attempt, until):
    """Before Python has even begun there: it is neither lost nor its end."""
    attempt.request_stop("save")
    until(lambda: attempt.poll() is not None)
    assert attempt.poll() == ExitCode.SAVED


def test_a_worker_ends_what_a_dead_one_left_though_the_job_is_cancelled(store, worker, home, run_out, until):
    store.submit("tick", {})
    job = store.claim("dead", 3600)
    mark = {ATTEMPT_VARIABLE: new_mark(job.id, job.epoch), "CAMELID_HOME": str(home), "PATH": os.environ["PATH"]}
    stray = subprocess.Popen(["sleep", "600"], start_new_session=True, env=mark)
    try:
        until(lambda: psutil.Process(stray.pid).environ().get(ATTEMPT_VARIABLE))
        store.request(job.id, "cancel")
        run_out(job)
        assert worker.run_once() is None
        assert stray.wait(240) == -9
        assert store.get(job.id).state == JobState.CANCELLED
    finally:
        stray.kill()
        stray.wait()
