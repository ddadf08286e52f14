"""The same recipe on the cluster: weights, curves and logs as on one machine, and the end of one machine is the end of
all and not of the job."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from camelid_core.events import read_events
from camelid_core.jobs.executors import LocalExecutor
from camelid_core.jobs.job import Job, JobState
from camelid_core.jobs.run_directories import EVENTS, LOG, attempt_directory
from camelid_core.jobs.worker import Worker
from camelid_core.testing import tiny_model
from camelid_ray.executor import RayExecutor
from camelid_train.config import Recipe

from .support import until

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive, pytest.mark.timeout(3600)]


@pytest.fixture
def recipe(tmp_path: Path) -> dict:
    values = {
        "model": {"name": str(tiny_model(tmp_path / "model")), "dtype": "float32"},
        "data": {"sources": ["cot-arithmetic-en"], "rows": 64, "eval_rows": 8},
        "train": {"max_steps": 6, "batch_size": 2, "save_steps": 2, "log_steps": 1, "preflight": False},
        "eval": {"samples": 0},
    }
    return Recipe.model_validate(values).model_dump(mode="json")


def run(store, recipe: dict, place, **launch: object) -> Job:
    job = store.submit("train", recipe | {"launch": recipe["launch"] | launch})
    return Worker(store, lambda _: place, lease_seconds=120).run_job(job.id)


def curve(store, job: Job) -> list[tuple[int, float]]:
    events, _ = read_events(attempt_directory(store.path.parent, job.id, job.epoch) / EVENTS)
    return [(event["step"], event["loss"]) for event in events if event["kind"] == "train"]


def weights(job: Job) -> dict:
    from safetensors.numpy import load_file

    return load_file(Path(job.published) / "adapter_model.safetensors")


def test_two_machines_train_what_two_processes_of_one_do(recipe, store, cluster):
    import numpy as np

    cluster.keep(2)
    here = run(store, recipe, LocalExecutor(), processes=2)
    there = run(store, recipe, RayExecutor(), executor="ray", nodes=2, shards=2)
    assert (here.state, there.state) == (JobState.SUCCEEDED, JobState.SUCCEEDED), (here.error, there.error)
    assert [step for step, _ in curve(store, there)] == [step for step, _ in curve(store, here)] != []
    assert [loss for _, loss in curve(store, there)] == pytest.approx(
        [loss for _, loss in curve(store, here)], abs=1e-4
    )
    mine, theirs = weights(here), weights(there)
    assert mine.keys() == theirs.keys()
    assert max(float(np.abs(mine[name] - theirs[name]).max()) for name in mine) <= 1e-4
    directory = attempt_directory(store.path.parent, there.id, 1)
    assert {path.name for path in (directory / "pieces").iterdir()} >= {
        "machine-0",
        "machine-1",
        "tokens-0",
        "tokens-1",
    }
    assert "Submitted to Ray" in (directory / LOG).read_text()


def test_when_a_machine_dies_the_job_goes_on_from_the_last_checkpoint(recipe, store, cluster):
    cluster.keep(2)
    recipe["train"] |= {"max_steps": 40, "save_steps": 5}
    job = store.submit("train", recipe | {"launch": recipe["launch"] | {"executor": "ray", "nodes": 2}})
    worker = Worker(store, lambda _: RayExecutor(), lease_seconds=120)
    thread = threading.Thread(target=worker.run_once)
    thread.start()
    until(lambda: any(step >= 6 for step, _ in curve(store, store.get(job.id))) or not thread.is_alive())
    cluster.kill(-1)
    thread.join()
    lost = store.get(job.id)
    assert lost.state in (JobState.LOST, JobState.QUEUED), lost.error
    cluster.keep(2)
    store.retry(job.id) if lost.state == JobState.LOST else None
    done = worker.run_job(job.id)
    assert done.state == JobState.SUCCEEDED, done.error
    resumed = [
        e["step"]
        for e in read_events(attempt_directory(store.path.parent, job.id, 2) / EVENTS)[0]
        if e["kind"] == "resume"
    ]
    assert max(resumed) >= 5
