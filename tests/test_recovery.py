"""A training run outlives its worker: killed in the middle it is taken up again and ends as if nothing had happened."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from camelid_core.artefacts import verify_directory
from camelid_core.events import read_events
from camelid_core.jobs.foreground import open_store
from camelid_core.jobs.job import JobState
from camelid_core.jobs.process_identity import ProcessIdentity
from camelid_core.jobs.run_directories import JOBS_DATABASE, attempt_directory
from camelid_core.jobs.store import JobStore
from camelid_core.testing import tiny_model, write_jsonl
from camelid_train.config import DataSection, ModelSection, Recipe, TrainSection

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
STEPS = 60
GATE = Path(__file__).parents[1] / "packages" / "train" / "tests" / "stepgate.py"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Recipe:
    folder = tmp_path_factory.mktemp("inputs")
    rows = [{"instruction": f"{a} + {b}?", "output": f"The answer is {a + b}."} for a in range(10) for b in range(10)]
    return Recipe(
        model=ModelSection(name=str(tiny_model(folder / "model"))),
        data=DataSection(sources=[str(write_jsonl(folder / "rows.jsonl", rows))], eval_rows=4),
        train=TrainSection(max_steps=STEPS, batch_size=64, learning_rate=1e-2, save_steps=10, log_steps=20),
    )


def worker(home: Path, once: bool = True) -> subprocess.Popen:
    command = [sys.executable, "-m", "camelid_core.cli", "worker", "--lease", "60", *(["--once"] if once else [])]
    gate = {"CAMELID_PLUGINS": "stepgate==1=stepgate", "PYTHONPATH": str(GATE.parent)}
    with (home / "worker.log").open("ab") as log:
        return subprocess.Popen(command, env={**os.environ, **gate, "CAMELID_HOME": str(home)}, stdout=log, stderr=log)


def wait_for(what, seconds: float = 120.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def steps_done(home: Path, epoch: int) -> int:
    events, _ = read_events(home / "runs" / "000001" / str(epoch) / "events.jsonl")
    return max((event["done"] for event in events if event["kind"] == "progress"), default=0)


def run_to_the_end(home: Path, recipe: Recipe) -> str:
    open_store(home).submit("train", recipe.model_dump(mode="json"), "run")
    assert worker(home).wait(240) == 0
    return adapter_hash(home)


def adapter_hash(home: Path) -> str:
    job = open_store(home).get(1)
    assert job.state is JobState.SUCCEEDED, job.error
    verify_directory(Path(job.published))
    return hashlib.sha256((Path(job.published) / "adapter_model.safetensors").read_bytes()).hexdigest()


def lose(home: Path) -> None:
    """As if the lease of the job's dead worker, and the wait before it is taken up again, were over."""
    store = JobStore(home / JOBS_DATABASE, backoff=(0.0,))
    with store.database.write() as db:
        db.execute("UPDATE job SET lease = 0")
    assert [job.state for job in store.sweep_lost()] == [JobState.LOST]


def test_a_killed_worker_costs_nothing(recipe, tmp_path):
    """kill -9 of the worker in mid-training: another one resumes from the checkpoint, the adapter is the
    uninterrupted run's bit for bit, and a second worker beside it never runs the job."""
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    expected = run_to_the_end(undisturbed, recipe)

    home = tmp_path / "killed"
    home.mkdir()
    store = open_store(home)
    store.submit("train", recipe.model_dump(mode="json"), "run")
    (home / "steps").write_text("25")  # however slow we are, it is no further than that
    first = worker(home, once=False)
    wait_for(lambda: steps_done(home, 1) >= 25)
    first.send_signal(signal.SIGKILL)
    first.wait()
    lose(home)

    second, third = worker(home, once=False), worker(home, once=False)
    try:
        wait_for(lambda: ProcessIdentity.read(attempt_directory(home, 1, 2)))  # then the first attempt is ended
        (home / "steps").unlink()
        wait_for(lambda: store.get(1).state is JobState.SUCCEEDED)
    finally:
        for process in (second, third):
            process.terminate()
            process.wait(240)
    attempts = sorted(path.name for path in (home / "runs" / "000001").iterdir())
    assert attempts == ["1", "2"]
    events, _ = read_events(home / "runs" / "000001" / "2" / "events.jsonl")
    progress = [event["done"] for event in events if event["kind"] == "progress"]
    assert progress[0] > 10
    assert progress[-1] == STEPS
    assert adapter_hash(home) == expected
