"""A home directory, its job table, workers in and out of this process, and a fake clock."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import camelid_core
import psutil
import pytest
from camelid_core.jobs.executors import LocalExecutor
from camelid_core.jobs.job import Job
from camelid_core.jobs.store import JobStore
from camelid_core.jobs.worker import Worker

HERE = Path(__file__).parent
SOURCE = Path(camelid_core.__file__).parents[1]
PATIENCE = 60.0
"""Seconds that only what hangs takes: no lease is lost and no limit met because the machine is busy."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("CAMELID_HOME", str(home))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(SOURCE)]))
    return home


@pytest.fixture
def store(home: Path) -> JobStore:
    return JobStore(home / "jobs.sqlite3", backoff=(0.2, 0.2, 0.2))


@pytest.fixture
def worker(store: JobStore) -> Worker:
    return working(store)


def working(store: JobStore, save_seconds: float = PATIENCE, meet_seconds: float = PATIENCE) -> Worker:
    executor = LocalExecutor("ticking")
    return Worker(
        store, lambda job: executor, lease_seconds=PATIENCE, save_seconds=save_seconds, meet_seconds=meet_seconds
    )


@pytest.fixture
def short_deadline(store: JobStore) -> Worker:
    """Gives a job a second to save and leave."""
    return working(store, save_seconds=1)


@pytest.fixture
def run_out(store: JobStore) -> Callable[..., None]:
    """Have a job's lease be over, as when its worker was silent for that long."""

    def run_out(job: Job, busy_seconds: float = 30.0) -> None:
        with JobStore(store.path, busy_seconds=busy_seconds).database.write() as db:
            db.execute("UPDATE job SET lease = 0 WHERE id = ?", (job.id,))

    return run_out


@pytest.fixture
def start_worker(home: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(lease: float = PATIENCE, *more: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, str(HERE / "run_worker.py"), str(home), str(lease), *more])
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def new_worker(store: JobStore) -> Callable[..., Worker]:
    return partial(working, store)


@pytest.fixture
def together(store: JobStore) -> Callable[[int], None]:
    """Have several workers run one job each, at the same time."""

    def run(count: int) -> None:
        with ThreadPoolExecutor(count) as pool:
            for future in [pool.submit(working(store).run_once) for _ in range(count)]:
                future.result(timeout=PATIENCE)

    return run


@pytest.fixture
def until() -> Callable[..., None]:
    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.05)

    return wait


@pytest.fixture
def alive() -> Callable[[int], bool]:
    def check(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return check
