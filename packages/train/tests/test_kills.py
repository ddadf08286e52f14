"""Real kills of real processes: five deaths of one run, and the result of a run that nobody disturbed."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from camelid_core.events import read_events
from camelid_core.jobs.job import JobState
from camelid_core.jobs.process_identity import ProcessIdentity
from camelid_core.jobs.run_directories import EVENTS, attempt_directory, attempts
from camelid_train.config import Recipe
from camelid_train.run import train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
SCRIPTS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def harness(home, base, sums, stepgate, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    module = importlib.import_module("kill_train")
    home.mkdir()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    config = {
        "model": {"name": str(base()), "dtype": "float32"},
        "data": {"sources": [str(sums)], "eval_rows": 4, "template": "chatml"},
        "method": {"dropout": 0.1},
        "train": {"epochs": 99, "max_steps": 60, "batch_size": 4, "accumulation": 2, "save_steps": 4, "log_steps": 3},
        "eval": {"steps": 25, "samples": 0},
    }
    harness = module.Training(home, Recipe.model_validate(config).model_dump(mode="json"), seed=1)
    harness.fingerprint = module.fingerprint
    return harness


def test_five_deaths_of_one_run_leave_no_trace_in_its_result(harness, home, attempt):
    undisturbed = attempt(job=99)
    train(Recipe.model_validate(harness.config), undisturbed)
    store = harness.store
    job = store.submit("train", harness.config, "mine")

    for number, victim in enumerate(("run", "worker", "both"), 1):
        permit(home, 10 * number)
        with harness.worker() as worker:
            harness.until(job.id, lambda number=number: store.get(job.id).epoch == number)
            assert harness.wait_for_moment(job.id, 10 * number), "it was over too soon"
            harness.kill(job.id, worker, victim)
    epoch = store.get(job.id).epoch + 1
    with harness.worker():
        fill_the_disk(harness, home, job.id, epoch)
        permit(home, 40)
        paused = harness.ended(job)
    assert (paused.state, paused.error_kind) == (JobState.PAUSED, "disk_full")
    assert "Free some space" in paused.error
    told = subprocess.run(camelid("jobs", "show", str(job.id)), capture_output=True, text=True).stdout
    assert f"Then `camelid jobs retry {job.id}` goes on from step " in told
    permit(home, 50)
    here = subprocess.Popen(camelid("jobs", "retry", str(job.id), "--here"), stdout=subprocess.PIPE, text=True)
    harness.until(job.id, lambda: harness.step(job.id) is not None and store.get(job.id).epoch > paused.epoch)
    here.send_signal(signal.SIGTERM)
    out, _ = here.communicate(timeout=120)
    assert here.returncode == 130, out
    assert f"Cancelled. `camelid jobs retry {job.id}` goes on from step " in out
    left = attempt_directory(home, job.id, store.get(job.id).epoch)
    assert [event["reason"] for event in read_events(left / EVENTS)[0] if event["kind"] == "stop"] == ["asked"]
    store.retry(job.id)
    (home / "steps").unlink()
    with harness.worker():
        done = harness.ended(job)

    assert (done.state, done.error) == (JobState.SUCCEEDED, "")
    adapter = "adapter_model.safetensors"
    assert (Path(done.published) / adapter).read_bytes() == (undisturbed.output / adapter).read_bytes()
    kept = [path for each in attempts(home, job.id) for path in each.glob("checkpoints/*")]
    assert len(kept) == 2, "train.keep counts over all attempts, and what was torn is swept away"


def permit(home: Path, steps: int) -> None:
    """However slow this process is, the run waits after so many."""
    (home / "steps").write_text(str(steps))


def camelid(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "camelid_core.cli", *arguments]


def fill_the_disk(harness, home: Path, job_id: int, epoch: int) -> None:
    """No file of the attempt may grow beyond a few bytes: short writes, then an error. Only once it is at its task:
    what Python compiles before that would stay behind, cut off."""
    directory = attempt_directory(home, job_id, epoch)
    harness.until(job_id, lambda: read_events(directory / EVENTS)[0])
    psutil.Process(ProcessIdentity.read(directory).pid).rlimit(psutil.RLIMIT_FSIZE, (3000, 3000))
