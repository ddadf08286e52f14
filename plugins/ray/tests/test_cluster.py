"""Attempts on a real Ray cluster of two machines: they end as they would here, and outlive their worker."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

import psutil
import pytest
from camelid_core.jobs.job import Job, JobState
from camelid_core.jobs.process_identity import ProcessIdentity
from camelid_core.jobs.run_directories import attempt_directory
from camelid_core.jobs.stop_signals import StopSignal
from camelid_core.jobs.store import JobStore
from camelid_core.jobs.worker import Worker
from camelid_core.testing import assert_executor_contract
from camelid_ray.executor import RayExecutor

from .conftest import Cluster
from .support import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def worker(store: JobStore) -> Worker:
    executor = RayExecutor()
    return Worker(store, lambda job: executor, lease_seconds=60)


def running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def directory_of(store: JobStore, job: Job, epoch: int = 1) -> Path:
    return attempt_directory(store.path.parent, job.id, epoch)


@pytest.mark.exhaustive
def test_it_keeps_the_contract_of_executors(store):
    assert_executor_contract(RayExecutor(), store)


def test_an_attempt_goes_on_when_its_worker_stops_and_the_next_one_takes_it_up(store, worker):
    job = store.submit("count", {"upto": 1_000_000})
    stop = StopSignal()
    first = threading.Thread(target=worker.run_once, args=(stop,))
    first.start()
    until(lambda: ProcessIdentity.read(directory_of(store, job)))
    pid = ProcessIdentity.read(directory_of(store, job)).pid
    stop()
    first.join()
    assert store.get(job.id).state == JobState.QUEUED
    assert running(pid)
    second = threading.Thread(target=worker.run_once)
    second.start()
    until(lambda: store.get(job.id).state == JobState.RUNNING)
    assert running(pid)
    store.request(job.id, "finish")
    second.join()
    done = store.get(job.id)
    assert (done.state, done.epoch, done.summary["first"]) == (JobState.SUCCEEDED, 2, 0), done.error
    assert done.process.startswith("Ray job camelid-1-1-")
    assert not directory_of(store, job, 2).exists()
    until(lambda: not running(pid))


def test_a_wrong_token_is_refused_with_what_to_type(store, worker, monkeypatch):
    monkeypatch.setenv("CAMELID_RAY_TOKEN", "wrong" * 10)
    done = worker.run_job(store.submit("count", {}).id)
    assert done.state == JobState.FAILED
    assert "camelid plugins settings ray token=-" in done.error


def test_the_tasks_attempt_sees_no_secret_of_the_worker(store, worker, monkeypatch):
    """The worker's own variables stay here, and its settings' token is in no file of the attempt."""
    done = worker.run_job(store.submit("count", {}).id)
    token = os.environ["CAMELID_RAY_TOKEN"].encode()
    files = [path for path in directory_of(store, done).rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if token in path.read_bytes()]


@pytest.mark.exhaustive
def test_when_the_head_dies_the_job_is_lost_and_goes_on_on_the_next_cluster(store, worker, monkeypatch):
    monkeypatch.setenv("CAMELID_RAY_SILENCE_SECONDS", "5")
    own = Cluster(Path(tempfile.mkdtemp(prefix="ray", dir="/tmp")))
    try:
        own.start_head()
        with monkeypatch.context() as there:
            there.setenv("CAMELID_RAY_ADDRESS", own.address)
            there.setenv("CAMELID_RAY_TOKEN", own.token)
            job = store.submit("count", {"upto": 1_000_000})
            thread = threading.Thread(target=worker.run_once)
            thread.start()
            counted = directory_of(store, job) / "count.txt"
            until(lambda: counted.exists() and counted.stat().st_size)
            own.kill(0)
            thread.join()
    finally:
        own.stop()
    lost = store.get(job.id)
    assert (lost.state, lost.retries) == (JobState.LOST, 1)
    assert "The cluster has lost it: Ray job camelid-1-1-" in lost.error
    until(lambda: any(each.state == JobState.QUEUED for each in store.sweep_lost()))
    again = threading.Thread(target=worker.run_once)
    again.start()
    until(lambda: (directory_of(store, job, 2) / "count.txt").exists())
    store.request(job.id, "finish")
    again.join()
    done = store.get(job.id)
    assert done.state == JobState.SUCCEEDED, done.error
    assert done.summary["first"] > 0
