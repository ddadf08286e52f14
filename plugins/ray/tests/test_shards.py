"""A prediction in shards over two machines is that of one process, byte for byte, also when one machine dies."""

from __future__ import annotations

import json
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from camelid_core.events import read_events
from camelid_core.jobs.job import JobState
from camelid_core.jobs.run_directories import EVENTS, attempt_directory
from camelid_core.jobs.worker import Worker
from camelid_core.testing import tiny_model, write_jsonl
from camelid_ray.executor import RayExecutor
from camelid_serve.config import PredictConfig

from .support import run_here, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(params=[2_000, pytest.param(20_000, marks=pytest.mark.exhaustive)])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> PredictConfig:
    rows = [{"instruction": f"Add {n} and {n % 7}.", "kept": n} for n in range(request.param)]
    rows[5] = {"instruction": ""}  # invalid
    model, source = tiny_model(tmp_path / "model"), write_jsonl(tmp_path / "in.jsonl", rows)
    return PredictConfig(model=str(model), input=str(source), engine="stub", batch_size=8)


def answered(directory: Path) -> Counter[int]:
    """How often each row was answered, by whole lines: a kill may cut the last one."""
    found: Counter[int] = Counter()
    for path in directory.glob("pieces/*/*/answers.work.jsonl"):
        for line in path.read_text().splitlines():
            with suppress(ValueError):
                found.update(filter(None, [json.loads(line).get("row")]))
    return found


def test_a_machine_that_dies_costs_no_row_and_gives_none_twice(config, cluster, store, home, tmp_path, monkeypatch):
    whole = run_here(config, tmp_path / "whole", monkeypatch)
    shared = config.model_copy(update={"launch": config.launch.model_copy(update={"executor": "ray", "shards": 4})})
    job = store.submit("predict", shared.model_dump(mode="json"))
    executor = RayExecutor()
    worker = Worker(store, lambda _: executor, lease_seconds=60)
    thread = threading.Thread(target=worker.run_once)
    cluster.keep(2)
    thread.start()
    directory = attempt_directory(home, job.id, 1)

    def done() -> int:
        events, _ = read_events(directory / EVENTS)
        return max([0, *(event["done"] for event in events if event["kind"] == "progress")])

    rows = len(whole.splitlines())
    until(lambda: done() > rows // 4 or not thread.is_alive())
    at, lost = done(), cluster.kill(-1)
    thread.join()
    finished = store.get(job.id)
    assert finished.state == JobState.SUCCEEDED, finished.error
    assert lost
    assert (Path(finished.published) / "predictions.jsonl").read_bytes() == whole
    tries = {path.parent.name: path.name for path in sorted(directory.glob("pieces/*/*"))}
    assert len(tries) == 4
    assert "2" in tries.values(), "no piece was tried again: the machine that died ran none"
    assert answered(directory) == Counter(range(1, rows + 1)), "every row once"
    assert finished.summary["rows"] == rows
    print(f"{rows:,} rows; {lost} processes of a machine killed at row {at:,}; {finished.summary['seconds']} s")
