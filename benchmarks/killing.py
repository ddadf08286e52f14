"""Jobs that are killed with signal 9 and taken up again: what `kill_train` and `kill_predict` share.

Knows workers, attempts and how to end them. Knows nothing of what a job does: a subclass says how far it is.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from camelid_core.jobs.files import attempt_directory
from camelid_core.jobs.model import ENDED, Job, State
from camelid_core.jobs.process import Identity
from camelid_core.jobs.stopping import Stop, on_signals
from camelid_core.jobs.store import JobStore
from camelid_core.jobs.worker import Worker

LEASE = 60.0
VICTIMS = ("run", "worker", "both")


class Harness:
    """Runs `config` as jobs of a home directory. `kills` counts victims, `after` says how far each job was."""

    def __init__(self, home: Path, config: dict[str, Any], seed: int = 0) -> None:
        self.home = home
        self.config = config
        self.store = _store(home)
        self.chance = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.after: list[int] = []

    def done(self, job_id: int) -> int:
        """How far the job is, in its own unit."""
        raise NotImplementedError

    def kill(self, job_id: int, worker: subprocess.Popen[bytes], victim: str) -> None:
        """End the process that runs the job, the worker that watches it, or both; ask for the rest of the job."""
        job = self.store.get(job_id)
        identity = Identity.read(attempt_directory(self.home, job_id, job.epoch))
        self.kills[victim] += 1
        self.after.append(self.done(job_id))
        if victim in ("worker", "both"):
            worker.kill()
            worker.wait()
        if victim in ("run", "both") and identity is not None:
            identity.end()
        if victim == "run":
            self.until(job_id, lambda: self.over(job_id))
            if self.store.get(job_id).state is not State.SUCCEEDED:
                self.store.retry(job_id)

    def over(self, job_id: int) -> bool:
        return self.store.get(job_id).state in ENDED

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
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen([sys.executable, __file__, str(self.home)])
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()
            with self.store.database.write() as db:  # by the clock it would be over in a minute
                db.execute("UPDATE job SET lease = 0 WHERE state IN ('claimed', 'running')")


def _store(home: Path) -> JobStore:
    return JobStore(home / "jobs.sqlite3", backoff=(0.1,) * 100)


def _work(home: Path) -> None:
    with on_signals(Stop()) as stop:
        Worker(_store(home), lease_seconds=LEASE, beat_seconds=LEASE / 6).run_forever(stop)


if __name__ == "__main__":
    _work(Path(sys.argv[1]))
