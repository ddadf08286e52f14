"""The processes that chaos hits on the server's machine: workers, and the one that submits.

    parts.py work HOME OUTSIDE
    parts.py submit HOME OUTSIDE UNTIL

Both are the product's own code with two additions: what was acknowledged and what was put in its place is written to
files outside the home directory, which no fault reaches.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from camelid_core.errors import JobError
from camelid_core.jobs.clock import Clock
from camelid_core.jobs.executors import AttemptHandle, LocalExecutor
from camelid_core.jobs.job import ENDED, Job, JobState
from camelid_core.jobs.stop_signals import StopSignal, stop_on_signals
from camelid_core.jobs.store import JobStore
from camelid_core.jobs.worker import Worker

LEASE_SECONDS = float(os.environ.get("CHAOS_LEASE", "3"))
SAVE_SECONDS = 5.0
BACKOFF = (0.2, 0.4, 0.8)
JOBS_AT_A_TIME = 3
"""Of one worker: stub jobs mostly wait for their own processes."""
BACKLOG = 40
"""Jobs that wait at most: what is submitted can be worked off in seconds when the time is over."""
FULL = ("long", "hang")
WEIGHTS = {
    "publish": 84, "nothing": 4, "fail": 3, "crash": 2, "exit": 1, "loud": 2, "orphans": 2, "long": 1.5, "hang": 0.5,
}  # fmt: skip


class LeapingClock(Clock):
    """Whose wall clock is an hour behind, an hour ahead, right, or in 1970."""

    def wall(self) -> float:
        return random.choice((time.time() - 3600, time.time() + 3600, time.time(), 5.0))


class WatchedStore(JobStore):
    """Notes what is put in its place, in the order in which it happens."""

    def __init__(self, home: Path, outside: Path) -> None:
        super().__init__(home / "jobs.sqlite3", LeapingClock(), BACKOFF)
        self._outside = outside

    def publish(self, job: Job, place: Callable[[], Path], summary: Mapping[str, Any]) -> Job:
        def noted() -> Path:
            path = place()
            note(self._outside / "placed.jsonl", job=job.id, epoch=job.epoch, path=str(path), inode=path.stat().st_ino)
            return path

        return super().publish(job, noted, summary)


class StubExecutor(LocalExecutor):
    """Starts the process that a stub job asks for: most a quick one, a few a real attempt."""

    def __init__(self) -> None:
        super().__init__("quick_stub")
        self._full = LocalExecutor("full_stub")

    def start(self, job: Job, directory: Path) -> AttemptHandle:
        if job.config["how"] in FULL:
            return self._full.start(job, directory)
        spec = {"key": job.config["key"], "how": job.config["how"], "job": job.id, "epoch": job.epoch}
        (directory / "stub.json").write_text(json.dumps(spec), encoding="utf-8")
        return super().start(job, directory)


def note(file: Path, **values: Any) -> None:
    """Append one line, at once and on disk."""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, (json.dumps(values) + "\n").encode())
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def notes(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def work(home: Path, outside: Path) -> None:
    executor = StubExecutor()
    with stop_on_signals(StopSignal()) as stop:
        Worker(
            WatchedStore(home, outside),
            lambda job: executor,
            lease_seconds=LEASE_SECONDS,
            save_seconds=SAVE_SECONDS,
            jobs=JOBS_AT_A_TIME,
        ).run_forever(stop)


def submit(home: Path, outside: Path, until: float) -> None:
    """Submit stub jobs until the time since boot is `until`; each again under its key until it was acknowledged."""
    store, acknowledged = JobStore(home / "jobs.sqlite3"), outside / "acknowledged.jsonl"
    number = max((each["number"] for each in notes(acknowledged)), default=-1) + 1
    chance = random.Random(number)
    while time.monotonic() < until:
        try:
            if len(store.list([JobState.QUEUED], limit=BACKLOG)) >= BACKLOG:
                time.sleep(0.1)
                continue
            job = submit_one(store, number, chance)
        except JobError as error:
            sys.stderr.write(f"submit: {error}\n")
            time.sleep(0.1)
            continue
        note(acknowledged, number=number, job=job.id)
        number += 1


def submit_one(store: JobStore, number: int, chance: random.Random) -> Job:
    key = f"stub-{number:06d}"
    how = random.Random(number).choices([*WEIGHTS], [*WEIGHTS.values()])[0]
    found = store.with_key(key)
    if found is not None:  # it was on disk before we died
        return found
    others = [job.id for job in store.list(limit=5) if job.state not in ENDED] if chance.random() < 0.03 else []
    return store.submit(
        "stub", {"how": how, "key": key}, key, priority=chance.choice((0, 0, 0, 5)), key=key, depends_on=others[:1]
    )


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        submit(Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]))
