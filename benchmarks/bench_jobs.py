"""What the job queue costs: submits a second, listings and restarts of a long table, and how soon a job starts.

    python benchmarks/bench_jobs.py [--rows 10000] [--workers 4] [--jobs 40] [--home DIR]

All on the disk of --home (default: a temporary directory), with every commit synced. `start` is what passes from a
submit until the attempt's process runs, with all workers idle; `first_event` until the task inside it has begun.
The jobs are stubs, which load no plugins. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from camelid_core.config import Config
from camelid_core.jobs import attempt
from camelid_core.jobs.executors import LocalExecutor
from camelid_core.jobs.job import ENDED, JobState
from camelid_core.jobs.job_rows import INSERT, to_values
from camelid_core.jobs.presence import live_workers
from camelid_core.jobs.resources import Needs
from camelid_core.jobs.start_conditions import reasons_to_wait
from camelid_core.jobs.stop_signals import StopSignal, stop_on_signals
from camelid_core.jobs.store import JobStore
from camelid_core.jobs.this_machine import this_machine
from camelid_core.jobs.worker import Worker
from camelid_core.tasks import Task, TaskContext

LIMITS = {
    "submits_per_second": 20, "list_50_milliseconds": 100, "waits_50_milliseconds": 100, "restart_seconds": 3,
    "start_p95_seconds": 1,
}  # fmt: skip
_SMALL = Needs(cores=0)


class Stub(Config):
    """A job that does nothing."""


def run(config: Stub, context: TaskContext) -> Mapping[str, Any]:
    context.emit("progress", done=1, total=1, unit="job", began=time.time())
    return {"began": time.time()}


STUB = Task("stub", "Do nothing.", "bench_jobs:Stub", "bench_jobs:run")


def work(home: Path) -> None:
    executor = LocalExecutor("bench_jobs")
    worker = Worker(JobStore(home / "jobs.sqlite3"), lambda job: executor, jobs=1, machine=this_machine())
    with stop_on_signals(StopSignal()) as stop:
        worker.run_forever(stop)


def milliseconds(action: Callable[[], object], times: int = 20) -> float:
    """The median of some calls."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return round(statistics.median(taken) * 1000, 2)


def submits_per_second(home: Path, seconds: float = 5.0) -> float:
    store, count, began = JobStore(home / "submits" / "jobs.sqlite3"), 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        store.submit("stub", {}, needs=_SMALL)
        count += 1
    return round(count / (time.perf_counter() - began), 1)


def long_table(path: Path, rows: int) -> JobStore:
    """A table of which a tenth waits, half of that for others, a handful runs, and the rest has ended."""
    store = JobStore(path)
    first = store.submit("stub", {}, "first", needs=_SMALL)
    values = to_values(first)
    others = []
    for number in range(2, rows + 1):
        state = JobState.QUEUED if number > rows * 0.9 else JobState.SUCCEEDED
        depends = json.dumps([1, number - 1] if state == JobState.QUEUED and number % 2 else [])
        ended = None if state == JobState.QUEUED else time.time()
        config = json.dumps({"text": "x" * 1500})  # as long as a recipe
        others.append(values | {"id": number, "state": str(state), "depends_on": depends, "ended": ended,
                                "config": config, "boot": store.clock.boot()})  # fmt: skip
    with store.database.write() as db:
        db.executemany(INSERT.partition(" RETURNING")[0], others)
    return store


def tables(home: Path, rows: int) -> dict[str, float]:
    path = home / "rows" / "jobs.sqlite3"
    store = long_table(path, rows)
    newest = store.list(limit=50)

    def restart() -> None:
        JobStore(path).sweep_lost()

    restart_seconds = milliseconds(restart, 5) / 1000
    began = time.perf_counter()
    JobStore(path).claim("w", 30.0, machine=this_machine())
    claim_seconds = time.perf_counter() - began
    return {
        "list_50_milliseconds": milliseconds(lambda: store.list(limit=50)),
        "list_active_milliseconds": milliseconds(lambda: store.list([s for s in JobState if s not in ENDED], 50)),
        "waits_50_milliseconds": milliseconds(lambda: reasons_to_wait(store, newest)),
        "restart_seconds": round(restart_seconds + claim_seconds, 3),
        "idle_look_milliseconds": milliseconds(store.sweep_lost),
    }


def starts(home: Path, workers: int, jobs: int) -> dict[str, Any]:
    """Jobs submitted one by one, each after the one before has ended and the workers idle again."""
    home = home / "starts"
    store = JobStore(home / "jobs.sqlite3")
    processes = [subprocess.Popen([sys.executable, __file__, "--work", str(home)]) for _ in range(workers)]
    try:
        while len(live_workers(store)) < workers:
            time.sleep(0.1)
        idle = cpu_share(processes)
        start, first = [], []
        for _ in range(jobs):
            time.sleep(0.35)
            job = store.submit("stub", {}, needs=_SMALL)
            submitted = job.created
            while (job := store.get(job.id)).state not in ENDED:
                time.sleep(0.02)
            assert job.state == JobState.SUCCEEDED, job.error
            start.append((job.started or 0.0) - submitted)
            first.append(job.summary["began"] - submitted)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
    return {
        **{f"start_{name}_seconds": value for name, value in quantiles(start).items()},
        **{f"first_event_{name}_seconds": value for name, value in quantiles(first).items()},
        "idle_worker_cpu_percent": idle,
    }


def quantiles(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "p50": round(statistics.median(ordered), 3),
        "p95": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 3),
        "max": round(ordered[-1], 3),
    }


def cpu_share(processes: Sequence[subprocess.Popen[bytes]], seconds: float = 5.0) -> float:
    """Percent of one core that an idle worker takes, on average."""
    watched = [psutil.Process(process.pid) for process in processes]

    def used() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in watched)

    before = used()
    time.sleep(seconds)
    return round(100 * (used() - before) / seconds / len(watched), 2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
    if options.work:
        work(options.work)
        return 0
    with tempfile.TemporaryDirectory(dir=options.home) as directory:
        home = Path(directory)
        found = {"submits_per_second": submits_per_second(home), **tables(home, options.rows)}
        found |= starts(home, options.workers, options.jobs)
    missed = [
        name for name, limit in LIMITS.items()
        if (found[name] < limit if name == "submits_per_second" else found[name] > limit)
    ]  # fmt: skip
    print(json.dumps({"rows": options.rows, "workers": options.workers, **found, "limits": LIMITS, "missed": missed}))
    return 1 if missed else 0


if __name__ == "__main__":
    if __spec__ is not None and "--home" in sys.argv and sys.argv[-1].isdecimal():  # as an attempt, by `python -m`
        sys.exit(attempt.main(tasks=lambda: {"stub": STUB}))
    sys.exit(main())
