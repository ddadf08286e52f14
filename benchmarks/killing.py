"""Jobs that are killed with signal 9 and taken up again: what `kill_train` and `kill_predict` share.

Knows workers, attempts and how to end them. Knows nothing of what a job does: a subclass says how far it is.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from camelid_core.jobs.job import ENDED, Job, JobState
from camelid_core.jobs.presence import live_workers
from camelid_core.jobs.process_identity import ProcessIdentity
from camelid_core.jobs.run_directories import attempt_directory
from camelid_core.jobs.stop_signals import StopSignal, stop_on_signals
from camelid_core.jobs.store import JobStore
from camelid_core.jobs.worker import Worker

LEASE = 60.0
VICTIMS = ("run", "worker", "both")
PAGES = "pages"
"""Another victim, for jobs that web pages look at meanwhile."""


class Harness:
    """Runs `config` as jobs of a home directory. `kills` counts victims, `after` says how far each job was."""

    def __init__(self, home: Path, config: dict[str, Any], seed: int = 0) -> None:
        self.home = home
        self.config = config
        self.store = _store(home)
        self.chance = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.after: list[int] = []
        self._pages: subprocess.Popen[bytes] | None = None

    def done(self, job_id: int) -> int:
        """How far the job is, in its own unit."""
        raise NotImplementedError

    def kill(self, job_id: int, worker: subprocess.Popen[bytes], victim: str) -> None:
        """End the process that runs the job, the worker that watches it, both, or the pages; ask for the rest of the
        job."""
        if victim in ("run", "both"):  # another worker may have begun anew just now
            self.until(job_id, lambda: self.over(job_id) or self._identity(job_id))
        job, identity = self.store.get(job_id), self._identity(job_id)
        self.kills[victim] += 1
        self.after.append(self.done(job_id))
        if victim == PAGES:
            self._close_pages()
            self._open_pages()
        if victim in ("worker", "both"):
            self._end_worker(job, worker)
        if victim in ("run", "both") and identity is not None:
            identity.kill()
        if victim == "run":
            self.until(job_id, lambda: self.over(job_id) or self.store.get(job_id).epoch > job.epoch)
            if self.store.get(job_id).state in ENDED - {JobState.SUCCEEDED}:  # its first death was mended by itself
                self.store.retry(job_id)

    def _identity(self, job_id: int) -> ProcessIdentity | None:
        return ProcessIdentity.read(attempt_directory(self.home, job_id, self.store.get(job_id).epoch))

    def _end_worker(self, job: Job, worker: subprocess.Popen[bytes]) -> None:
        """Ours, or the one that pages started, if that one has the job."""
        if job.owner in live_workers(self.store) and f":{worker.pid}:" not in job.owner:
            _kill(job.owner)
            self._let_go(job.owner)
        else:
            worker.kill()
            worker.wait()

    def over(self, job_id: int) -> bool:
        job = self.store.get(job_id)
        if (
            job.state is JobState.FAILED and job.error_kind == "lost"
        ):  # a worker of the pages gives up after four deaths
            self.store.retry(job_id)
            return False
        return job.state in ENDED

    def ended(self, job: Job) -> Job:
        self.until(job.id, lambda: self.over(job.id))
        return self.store.get(job.id)

    def until(self, job_id: int, done: Callable[[], object], seconds: float = 1800) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise SystemExit(f"nothing happens any more: {self.store.get(job_id)}")
            time.sleep(0.01)

    @contextmanager
    def pages(self) -> Iterator[None]:
        """`camelid ui` beside whatever happens, and whichever worker it starts; they are gone afterwards."""
        try:
            self._open_pages()
            yield
        finally:
            self._close_pages()
            for name in live_workers(self.store):
                _kill(name)

    def _close_pages(self) -> None:
        if self._pages is not None:
            self._pages.kill()
            self._pages.wait()

    def _open_pages(self) -> None:
        command = [sys.executable, "-m", "camelid_core.cli", "ui", "--port", "0"]
        environment = os.environ | {"CAMELID_HOME": str(self.home)}
        self._pages = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen([sys.executable, __file__, str(self.home)])
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()
            self._let_go(f"%:{process.pid}:%")

    def _let_go(self, owner: str) -> None:
        """End the lease of a dead worker at once: by the clock that takes a minute."""
        with self.store.database.write() as db:
            db.execute("UPDATE job SET lease = 0 WHERE state IN ('claimed', 'running') AND owner LIKE ?", (owner,))


def _kill(worker: str) -> None:
    """Workers are called HOST:PID:CHANCE; one may be gone already, or only about to start."""
    with suppress(ProcessLookupError, LookupError):
        os.kill(int(worker.split(":")[1]), signal.SIGKILL)


def _store(home: Path) -> JobStore:
    return JobStore(home / "jobs.sqlite3", backoff=(0.1,) * 100)


def _work(home: Path) -> None:
    with stop_on_signals(StopSignal()) as stop:
        Worker(_store(home), lease_seconds=LEASE, heartbeat_seconds=LEASE / 6).run_forever(stop)


if __name__ == "__main__":
    _work(Path(sys.argv[1]))
