"""Who gets which job: workers that all claim at once, and the clock that leases run on."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from camelid_core.jobs.clock import Clock
from camelid_core.jobs.job import JobState
from camelid_core.jobs.store import JobStore

CLAIM_ALL = (
    "import sys; from pathlib import Path; from camelid_core.jobs import JobStore\n"
    "store = JobStore(Path(sys.argv[1]))\n"
    "print('ready', flush=True)\n"
    "sys.stdin.readline()  # all begin together, however fast the machine is\n"
    "while store.claim(sys.argv[2], 3600): pass"
)
IN_ORDER = (
    "CREATE TABLE claimed (number INTEGER PRIMARY KEY, job INTEGER, worker TEXT)",
    "CREATE TRIGGER note AFTER UPDATE ON job WHEN NEW.state = 'claimed' AND OLD.state = 'queued' BEGIN "
    "INSERT INTO claimed (job, worker) VALUES (NEW.id, NEW.owner); END",
)


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.exhaustive)])
def test_four_processes_claim_each_job_once_and_in_exact_order(tmp_path, count):
    """The order is that of the transactions, which write it down themselves."""
    memory = Path("/dev/shm")
    place = memory / f"camelid-{tmp_path.name}-{time.monotonic_ns()}" if memory.is_dir() else tmp_path / "home"
    store = JobStore(place / "jobs.sqlite3")
    try:
        for number in range(count):
            store.submit("tick", {}, priority=number * 7 % 3)
        with store.database.write() as db:
            for statement in IN_ORDER:
                db.execute(statement)
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", CLAIM_ALL, str(store.path), f"w{n}"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for n in range(4)
        ]  # fmt: skip
        for worker in workers:
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        for worker in workers:
            worker.communicate(timeout=600)
        assert [worker.returncode for worker in workers] == [0] * 4
        with store.database.read() as db:
            claimed = [tuple(row) for row in db.execute("SELECT job, worker FROM claimed ORDER BY number")]
        jobs = store.list(limit=count)
    finally:
        for path in place.iterdir():
            path.unlink()
        place.rmdir()
    wanted = sorted(jobs, key=lambda job: (-job.priority, job.id))
    assert [job_id for job_id, _ in claimed] == [job.id for job in wanted]
    assert {(job.state, job.epoch) for job in jobs} == {(JobState.CLAIMED, 1)}
    assert len({worker for _, worker in claimed}) > 1


def test_leases_run_on_time_since_boot(monkeypatch):
    """The wall clock jumps to 1970 and an hour ahead: nothing is seen of it."""
    clock = Clock()
    before = clock.now()
    for wall in (5.0, time.time() + 3600):
        monkeypatch.setattr(time, "time", lambda wall=wall: wall)
        assert clock.wall() == wall
        assert before <= clock.now() < before + 600
