"""Real signals to real workers: the job is resumed, and published once."""

from __future__ import annotations

import signal

import psutil
import pytest
from camelid_core.jobs.database import TableUnavailable
from camelid_core.jobs.job import JobState
from camelid_core.jobs.process_identity import ProcessIdentity
from camelid_core.jobs.run_directories import attempt_directory, attempts

pytestmark = pytest.mark.slow
ENDLESS = 100_000


def running(store, home, job, epoch=1):
    """Written down as running by its worker, and at work."""
    directory = attempt_directory(home, job.id, epoch)
    return lambda: (
        store.get(job.id).state == JobState.RUNNING
        and ProcessIdentity.read(directory) is not None
        and (directory / "state.json").exists()
    )


def killed(worker):
    worker.kill()
    worker.wait()


def test_kill_9_of_the_worker(store, home, start_worker, run_out, alive, until):
    job = store.submit("tick", {"count": ENDLESS, "seconds": 0.05}, "mine")
    first = start_worker()
    until(running(store, home, job))
    child = ProcessIdentity.read(attempt_directory(home, job.id, 1))
    (half := attempt_directory(home, job.id, 1) / "output").mkdir()
    killed(first)
    run_out(job)
    start_worker()
    until(lambda: store.get(job.id).epoch == 2)
    until(lambda: not alive(child.pid))
    until(running(store, home, job, epoch=2))
    store.request(job.id, "finish")
    until(lambda: store.get(job.id).state == JobState.SUCCEEDED)
    done = store.get(job.id)
    assert 0 < done.summary["first"] < done.summary["ticks"] < ENDLESS
    assert (done.epoch, done.retries) == (2, 1)
    assert not half.exists()


def test_what_a_child_finished_alone_is_published_and_not_done_again(store, home, start_worker, run_out, until):
    job = store.submit("tick", {"count": 8, "then": "held"}, "mine")
    first = start_worker()
    until(running(store, home, job))
    killed(first)
    (home / "go").touch()
    until((attempt_directory(home, job.id, 1) / "result.json").exists)
    run_out(job)
    start_worker()
    until(lambda: store.get(job.id).state == JobState.SUCCEEDED)
    done = store.get(job.id)
    assert (done.epoch, done.summary["first"], done.summary["ticks"]) == (2, 0, 8)
    assert len(attempts(home, job.id)) == 1


def test_a_child_without_a_worker_ends_itself(store, home, start_worker, alive, until):
    """Its worker's lease runs out by the clock."""
    job = store.submit("tick", {"count": ENDLESS, "then": "ignores_stop"})
    worker = start_worker(lease=1.0)
    until(running(store, home, job))
    child = ProcessIdentity.read(attempt_directory(home, job.id, 1))
    killed(worker)
    until(lambda: not alive(child.pid))


def test_a_zombie_publishes_nothing(store, home, start_worker, run_out, until):
    """Stopped for longer than its lease, then awake again: the second attempt's result stands alone."""
    job = store.submit("tick", {"count": 15, "then": "held"}, "mine")
    zombie = start_worker()
    until(running(store, home, job))
    child = ProcessIdentity.read(attempt_directory(home, job.id, 1))
    freeze(job, [zombie.pid, child.pid], run_out, until)
    second = start_worker()
    (home / "go").touch()
    until(lambda: store.get(job.id).state == JobState.SUCCEEDED)
    second.terminate()
    assert second.wait(240) == 0
    other = store.submit("tick", {}, "other")
    zombie.send_signal(signal.SIGCONT)
    until(lambda: store.get(other.id).state == JobState.SUCCEEDED)  # by the zombie's worker, for no other is left
    done = store.get(job.id)
    assert (done.state, done.epoch) == (JobState.SUCCEEDED, 2)
    assert sorted(path.name for path in (home / "artefacts").iterdir()) == ["mine", "other"]
    assert not child.alive


def freeze(job, pids, run_out, until):
    """Stop processes where they hold no lock on the table, for that would keep all others out, and end the lease."""
    processes = [psutil.Process(pid) for pid in pids]
    while True:
        for process in processes:
            process.suspend()
        until(lambda: all(process.status() == psutil.STATUS_STOPPED for process in processes))
        try:
            return run_out(job, busy_seconds=1)
        except TableUnavailable:
            for process in processes:
                process.resume()


def test_sigterm_gives_the_job_back(store, home, start_worker, until):
    job = store.submit("tick", {"count": ENDLESS})
    worker = start_worker()
    until(running(store, home, job))
    worker.terminate()
    assert worker.wait(240) == 0
    back = store.get(job.id)
    assert (back.state, back.retries, back.owner, back.error) == (JobState.QUEUED, 0, "", "")


def test_two_workers_never_share_a_job(store, home, start_worker, until):
    jobs = [store.submit("tick", {"count": 2}) for _ in range(8)]
    for _ in range(2):
        start_worker()
    until(lambda: len(store.list([JobState.SUCCEEDED])) == len(jobs))
    assert {job.epoch for job in store.list()} == {1}
    assert all(len(attempts(home, job.id)) == 1 for job in jobs)
