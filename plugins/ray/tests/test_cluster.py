"""Attempts on a real Ray cluster of two machines: they end as they would here, and outlive their worker."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import psutil
import pytest
from camelid_core.events import read_events
from camelid_core.jobs.job import Job, JobState
from camelid_core.jobs.process_identity import ProcessIdentity
from camelid_core.jobs.run_directories import EVENTS, LOG, attempt_directory
from camelid_core.jobs.stop_signals import StopSignal
from camelid_core.jobs.store import JobStore
from camelid_core.jobs.worker import Worker
from camelid_core.testing import assert_executor_contract
from camelid_ray.executor import RayExecutor

from .support import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

@pytest.fixture
def worker(store: JobStore) -> Worker:
    executor = RayExecutor("ticking")
    return Worker(store, lambda job: executor, lease_seconds=60)


def directory_of(store: JobStore, job: Job, epoch: int = 1) -> Path:
    return attempt_directory(store.path.parent, job.id, epoch)


def test_it_keeps_the_contract_of_executors(store):
    assert_executor_contract(RayExecutor(), store)


def test_an_attempt_runs_there_and_its_result_is_published_here(store, worker, tmp_path):
    job = store.submit("tick", {"count": 3, "output": str(tmp_path / "out")})
    done = worker.run_job(job.id)
    assert (done.state, done.summary["ticks"]) == (JobState.SUCCEEDED, 3), done.error
    assert json.loads((tmp_path / "out" / "ticks.json").read_text()) == 3
    assert done.process.startswith("Ray job camelid-1-1-")
    events, _ = read_events(directory_of(store, job) / EVENTS)
    assert [event["done"] for event in events if event["kind"] == "progress"] == [1, 2, 3]
    assert "Submitted to Ray" in (directory_of(store, job) / LOG).read_text()


def test_it_goes_on_when_its_worker_stops_and_the_next_one_takes_it_up(store, worker):
    job = store.submit("tick", {"count": 100_000, "seconds": 0.02})
    stop = StopSignal()
    first = threading.Thread(target=worker.run_once, args=(stop,))
    first.start()
    until(lambda: ProcessIdentity.read(directory_of(store, job)))
    pid = ProcessIdentity.read(directory_of(store, job)).pid
    stop()
    first.join()
    assert store.get(job.id).state == JobState.QUEUED
    assert psutil.pid_exists(pid)
    second = threading.Thread(target=worker.run_once)
    second.start()
    until(lambda: store.get(job.id).state == JobState.RUNNING)
    assert psutil.pid_exists(pid)
    store.request(job.id, "finish")
    second.join()
    done = store.get(job.id)
    assert (done.state, done.epoch, done.summary["first"]) == (JobState.SUCCEEDED, 2, 0), done.error
    assert not directory_of(store, job, 2).exists()
    until(lambda: not psutil.pid_exists(pid))
