"""Attempts as submitit's jobs: they keep the contract, save before they are taken away, and ask for what is set."""

from __future__ import annotations

import os
import signal
import threading
import time

import psutil
import pytest
from camelid_core.jobs.attempt_result import AttemptResult
from camelid_core.jobs.job import JobState
from camelid_core.jobs.process_identity import ProcessIdentity
from camelid_core.jobs.run_directories import attempt_directory
from camelid_core.jobs.worker import Worker
from camelid_core.testing import assert_executor_contract
from camelid_slurm.executor import SlurmExecutor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("store", [pytest.param("local", marks=pytest.mark.exhaustive), "slurm"], indirect=True)
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
    parent = psutil.Process(ProcessIdentity.read(directory).pid).parent()
    parent.send_signal(signal.SIGTERM if os.environ["CAMELID_SLURM_CLUSTER"] == "slurm" else signal.SIGUSR2)
    thread.join()
    again = store.get(job.id)
    assert (again.state, again.retries) == (JobState.QUEUED, 0), again.error
    assert AttemptResult.read(directory).kind == "preempted"


@pytest.mark.parametrize("store", ["slurm"], indirect=True)
def test_slurm_is_asked_for_what_is_set_and_nobody_else_can_read_what_is_pickled(store, tmp_path, monkeypatch):
    for name, value in {"partition": "gpu", "account": "lab", "gpus": "2", "cpus": "3", "minutes": "77"}.items():
        monkeypatch.setenv(f"CAMELID_SLURM_{name.upper()}", value)
    job = store.submit("count", {})
    done = Worker(store, lambda _: SlurmExecutor(), lease_seconds=120).run_job(job.id)
    assert (done.state, done.process) == (JobState.SUCCEEDED, "Slurm job 1"), done.error
    script = (tmp_path / "slurm" / "1.sh").read_text().splitlines()
    asked = {
        "#SBATCH --partition=gpu", "#SBATCH --account=lab", "#SBATCH --gpus-per-node=2", "#SBATCH --cpus-per-task=3",
        "#SBATCH --time=77", "#SBATCH --job-name=camelid-1-1", "#SBATCH --signal=USR2@120",
    }  # fmt: skip
    assert asked <= set(script)
    assert " -P -u -m submitit" in "\n".join(script)
    directory = attempt_directory(store.path.parent, job.id, 1)
    assert [path.stat().st_mode & 0o077 for path in (directory, directory / "submitit")] == [0, 0]


@pytest.mark.parametrize("store", ["slurm"], indirect=True)
def test_without_slurm_or_with_several_machines_it_is_said_what_to_type(store, monkeypatch):
    worker = Worker(store, lambda _: SlurmExecutor(), lease_seconds=120)
    several = worker.run_job(store.submit("count", {"launch": {"nodes": 2, "executor": "slurm"}}).id)
    assert "--print slurm" in several.error
    monkeypatch.setenv("PATH", "/nowhere")
    none = worker.run_job(store.submit("count", {}).id)
    assert (none.state, "camelid plugins settings slurm cluster=local" in none.error) == (JobState.FAILED, True)
