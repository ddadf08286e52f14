"""Killed at every named point between claiming a job and having published it: the next worker publishes it, once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from camelid_core.artefacts import verify_directory
from camelid_core.jobs.job import JobState
from camelid_core.jobs.process_identity import ATTEMPT_VARIABLE
from camelid_core.jobs.store import JobStore

from .dying_worker import POINTS

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent


def marked(home: Path) -> list[psutil.Process]:
    """All that runs for attempts of this home directory."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.Error, OSError):
            continue
        if environment.get("CAMELID_HOME") == str(home) and ATTEMPT_VARIABLE in environment:
            found.append(process)
    return found


def ended_by_signal_9(command: list[object]) -> bool:
    return subprocess.run([sys.executable, *map(str, command)], timeout=600).returncode == -9


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_there_costs_one_attempt_at_most(store, worker, home, run_out, until, point):
    seconds = 0.5 if "heartbeat" in point else 0.01
    job = store.submit("tick", {"count": 3, "seconds": seconds}, "mine")
    died = ended_by_signal_9([HERE / "dying_worker.py", home, job.id, point])
    assert died != ("result" in point), "who dies at a point of the attempt's is not the worker"
    if died and store.get(job.id).state not in (JobState.QUEUED, JobState.SUCCEEDED):
        run_out(job)
        store.sweep_lost()
    if store.get(job.id).state in (JobState.LOST, JobState.FAILED):  # as a person does who does not wait
        store.retry(job.id)
    if store.get(job.id).state != JobState.SUCCEEDED:
        worker.run_job(job.id)
    done = store.get(job.id)
    assert (done.state, done.summary.get("ticks")) == (JobState.SUCCEEDED, 3), done.error
    assert done.epoch <= 2
    assert [path.name for path in (home / "artefacts").iterdir()] == ["mine"]
    verify_directory(Path(done.published))
    assert json.loads((Path(done.published) / "ticks.json").read_text()) == 3
    until(lambda: not marked(home))


@pytest.mark.parametrize("point", ["before clear", "after clear", "after commit"])
def test_a_deletion_killed_there_is_done_or_can_be_done_again(store, worker, home, point):
    """Whoever wanted the job gone never finds it half gone: it is listed and can be deleted, or it is not."""
    job = store.submit("tick", {}, "mine")
    done = worker.run_job(job.id)
    assert ended_by_signal_9(["-c", _DELETION, home, job.id, point])
    left = [each.id for each in JobStore(store.path).list()]
    if point == "after commit":
        assert left == []
    else:
        assert left == [job.id]
        from camelid_core.jobs.deletion import delete

        delete(store, job.id, result=True)
    assert store.list() == []
    assert not Path(done.published).exists()
    assert not (home / "runs" / f"{job.id:06d}").exists()
    store.submit("tick", {}, "next")  # and the table goes on
    assert store.list()[0].id == job.id + 1


_DELETION = """
import os, sys
from pathlib import Path
from camelid_core.jobs import deletion, store
home, job_id, point = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
table = store.JobStore(home / "jobs.sqlite3")
real = table.delete
def dying(job_id, clear):
    def cleared():
        if point == "before clear":
            os.kill(os.getpid(), 9)
        clear()
        if point == "after clear":
            os.kill(os.getpid(), 9)
    real(job_id, cleared)
    os.kill(os.getpid(), 9)
table.delete = dying
deletion.delete(table, job_id, result=True)
"""
