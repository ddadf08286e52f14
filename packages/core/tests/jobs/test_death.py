"""Real signals to real workers: the job goes on, and nobody publishes twice."""

from __future__ import annotations

import os
import signal
import time

import pytest
from camelid_core.jobs.files import attempt_directory, attempts
from camelid_core.jobs.model import State
from camelid_core.jobs.process import Identity

pytestmark = pytest.mark.slow


def running(store, home, job, epoch=1):
    return lambda: (attempt_directory(home, job.id, epoch) / "state.json").exists()


def test_kill_9_of_the_worker(store, home, start_worker, alive, until):
    job = store.submit("tick", {"count": 60, "seconds": 0.05}, "mine")
    first = start_worker()
    until(running(store, home, job))
    child = Identity.read(attempt_directory(home, job.id, 1))
    (half := attempt_directory(home, job.id, 1) / "output").mkdir()
    first.kill()
    start_worker()
    until(lambda: store.get(job.id).epoch == 2)
    until(lambda: not alive(child.pid), 2)
    until(lambda: store.get(job.id).state == State.SUCCEEDED)
    done = store.get(job.id)
    assert done.summary["first"] > 0
    assert (done.summary["ticks"], done.retries) == (60, 1)
    assert not half.exists()


def test_what_a_child_finished_alone_is_published_and_not_done_again(store, home, start_worker, until):
    job = store.submit("tick", {"count": 8, "seconds": 0.05}, "mine")
    first = start_worker(lease=1.0)
    until(running(store, home, job))
    first.kill()
    until((attempt_directory(home, job.id, 1) / "result.json").exists)
    start_worker()
    until(lambda: store.get(job.id).state == State.SUCCEEDED)
    done = store.get(job.id)
    assert (done.epoch, done.summary["first"], done.summary["ticks"]) == (2, 0, 8)
    assert len(attempts(home, job.id)) == 1


def test_a_child_without_a_worker_ends_itself(store, home, start_worker, alive, until):
    job = store.submit("tick", {"count": 100_000, "then": "deaf"})
    worker = start_worker(lease=1.0)
    until(running(store, home, job))
    child = Identity.read(attempt_directory(home, job.id, 1))
    worker.kill()
    until(lambda: not alive(child.pid), 6)


def test_a_zombie_publishes_nothing(store, home, start_worker, until):
    """Stopped for longer than its lease, then awake again: the second attempt's result stands alone."""
    job = store.submit("tick", {"count": 15, "seconds": 0.05}, "mine")
    zombie = start_worker(lease=1.0)
    until(running(store, home, job))
    child = Identity.read(attempt_directory(home, job.id, 1))
    os.kill(child.pid, signal.SIGSTOP)
    zombie.send_signal(signal.SIGSTOP)
    start_worker(lease=1.0)
    until(lambda: store.get(job.id).state == State.SUCCEEDED)
    zombie.send_signal(signal.SIGCONT)
    time.sleep(1.0)
    done = store.get(job.id)
    assert (done.state, done.epoch) == (State.SUCCEEDED, 2)
    assert [path.name for path in (home / "artefacts").iterdir()] == ["mine"]
    assert not child.alive
    assert zombie.poll() is None, "the zombie's worker should have gone on to other work"


def test_sigterm_gives_the_job_back(store, home, start_worker, until):
    job = store.submit("tick", {"count": 100_000})
    worker = start_worker(lease=4.0)
    until(running(store, home, job))
    worker.terminate()
    assert worker.wait(10) == 0
    back = store.get(job.id)
    assert (back.state, back.retries, back.owner, back.error) == (State.QUEUED, 0, "", "")


def test_two_workers_never_share_a_job(store, home, start_worker, until):
    jobs = [store.submit("tick", {"count": 2}) for _ in range(8)]
    for _ in range(2):
        start_worker(lease=4.0)
    until(lambda: len(store.list([State.SUCCEEDED])) == len(jobs), 30)
    assert {job.epoch for job in store.list()} == {1}
    assert all(len(attempts(home, job.id)) == 1 for job in jobs)
