"""Attempts as submitit's jobs, by its stand-in on this machine."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from camelid_core.jobs.attempt_result import AttemptResult
from camelid_core.jobs.job import JobState
from camelid_core.jobs.process_identity import ProcessIdentity
from camelid_core.jobs.run_directories import attempt_directory
from camelid_core.jobs.store import JobStore
from camelid_core.jobs.worker import Worker
from camelid_core.testing import assert_executor_contract
from camelid_slurm.executor import SlurmExecutor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
pytest.importorskip("submitit", reason="submitit is not installed")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobStore:
    monkeypatch.setenv("CAMELID_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CAMELID_SLURM_CLUSTER", "local")
    monkeypatch.setenv("CAMELID_PLUGINS", "executor-contract==1=camelid_core.plugin_kit.contract_tasks")
    return JobStore(tmp_path / "home" / "jobs.sqlite3", backoff=(0.2, 0.2, 0.2))


def test_it_keeps_the_contract_of_executors(store):
    assert_executor_contract(SlurmExecutor(), store)


def test_an_attempt_that_is_preempted_saves_and_the_job_is_queued_again(store):
    job = store.submit("count", {"upto": 1_000_000})
    worker = Worker(store, lambda _: SlurmExecutor(), lease_seconds=120)
    thread = threading.Thread(target=worker.run_once)
    thread.start()
    directory = attempt_directory(store.path.parent, job.id, 1)
    deadline = time.monotonic() + 600
    while not (directory / "count.txt").exists() or not (directory / "count.txt").stat().st_size:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    entry = os.getpgid(ProcessIdentity.read(directory).pid)
    parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGUSR2)
    thread.join()
    again = store.get(job.id)
    assert (again.state, again.retries) == (JobState.QUEUED, 0), again.error
    assert AttemptResult.read(directory).kind == "preempted"
