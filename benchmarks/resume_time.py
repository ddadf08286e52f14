"""How long after its worker was killed a training runs again, and whether it ends with the same weights.

    python benchmarks/resume_time.py [--rounds 3]

Two workers with the settings that `camelid worker` has by default; the one that trains is killed with signal 9, and so
is what it runs. Prints one line of JSON with the seconds from the kill to the new claim, to the new process and to its
first step. Exit code 1 if one was above 35 s until the new process ran, or if weights differ from those of a run that
was left alone. A tiny random model is made.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from camelid_core.events import read_events
from camelid_core.integrity import sha256
from camelid_core.jobs.foreground import open_store
from camelid_core.jobs.job import ENDED, JobState
from camelid_core.jobs.process_identity import ProcessIdentity
from camelid_core.jobs.run_directories import EVENTS, attempt_directory
from camelid_core.jobs.store import JobStore
from kill_train import recipe

LIMIT_SECONDS = 35.0
STEPS = 24


def main() -> int:
    given = _arguments()
    with tempfile.TemporaryDirectory(prefix="resume-time-") as temporary:
        home = Path(temporary)
        os.environ["CAMELID_HOME"] = str(home)
        config = recipe(argparse.Namespace(model="", steps=STEPS), home)
        store = open_store(home)
        workers = [_worker(home), _worker(home)]
        try:
            reference = _weights(store, _ended(store, store.submit("train", config).id))
            rounds = [_killed(store, home, config, workers) for _ in range(given.rounds)]
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.wait()
    equal = all(each.pop("weights") == reference for each in rounds)
    print(json.dumps({"rounds": rounds, "equal": equal, "load": round(os.getloadavg()[0], 1)}))
    return 0 if equal and all(each["running"] <= LIMIT_SECONDS for each in rounds) else 1


def _killed(store: JobStore, home: Path, config: dict[str, Any], workers: list[subprocess.Popen[bytes]]) -> dict:
    job = store.submit("train", config)
    first = attempt_directory(home, job.id, 1)
    _until(lambda: _steps(first) >= STEPS // 3)
    owner = store.get(job.id).owner
    worker = next(each for each in workers if f":{each.pid}:" in owner)
    began = time.monotonic()
    worker.kill()
    worker.wait()
    if identity := ProcessIdentity.read(first):
        identity.kill()
    seconds = {}
    second = attempt_directory(home, job.id, 2)
    for what, done in {
        "claimed": lambda: store.get(job.id).epoch == 2,
        "running": lambda: store.get(job.id).state == JobState.RUNNING,
        "first_step": lambda: _steps(second) > 0,
    }.items():
        _until(done)
        seconds[what] = round(time.monotonic() - began, 1)
    resumed_from = [event["step"] for event in read_events(second / EVENTS)[0] if event["kind"] == "resume"]
    weights = _weights(store, _ended(store, job.id))
    workers[workers.index(worker)] = _worker(home)
    return seconds | {"resumed_from": resumed_from[0] if resumed_from else 0, "weights": weights}


def _ended(store: JobStore, job_id: int) -> int:
    _until(lambda: store.get(job_id).state in ENDED)
    return job_id


def _weights(store: JobStore, job_id: int) -> str:
    job = store.get(job_id)
    if job.state != JobState.SUCCEEDED:
        raise SystemExit(f"job {job_id} ended as {job.state}: {job.error}")
    return sha256(Path(job.published) / "adapter_model.safetensors")


def _steps(attempt: Path) -> int:
    events = read_events(attempt / EVENTS)[0] if (attempt / EVENTS).exists() else []
    return max((event["done"] for event in events if event["kind"] == "progress"), default=0)


def _until(done: Callable[[], object], seconds: float = 1800) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise SystemExit("nothing happens any more")
        time.sleep(0.05)


def _worker(home: Path) -> subprocess.Popen[bytes]:
    with (home / "worker.log").open("ab") as log:
        command = [sys.executable, "-m", "camelid_core.cli", "worker"]
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How long a training waits for another worker after its own died.")
    parser.add_argument("--rounds", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
