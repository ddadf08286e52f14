"""A prediction that is killed over and over answers each row exactly once, as if nothing had happened."""

from __future__ import annotations

import json
import multiprocessing
import signal
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from camelid_core.testing import write_jsonl
from camelid_serve.config import PredictConfig
from camelid_serve.engine import Sampling
from camelid_serve.predict.inputs import PREDICTIONS
from camelid_serve.predict.task import WORK, run

from .context import Attempt

pytestmark = pytest.mark.slow

ROWS = 40
HOLD_AFTER = 12
"""Rows of an attempt that is to be killed after six: it never comes to its end before."""
ATTEMPT = """
import sys
from pathlib import Path
from camelid_serve.config import PredictConfig
from camelid_serve.predict.task import run
sys.path.insert(0, here)
from context import Attempt
run(PredictConfig.model_validate_json(config), Attempt(Path(root), number, hold_after=hold))
"""
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["camelid_core.models.loading", "torch", "transformers", "camelid_serve.predict.task"])
"""Real processes to kill, of which only the first waits for torch to be imported."""


def start(config: PredictConfig, root: Path, number: int, hold: int = 0) -> BaseProcess:
    names = {"here": str(Path(__file__).parent), "root": str(root), "number": number, "hold": hold}
    process = PROCESSES.Process(target=exec, args=(ATTEMPT, names | {"config": config.model_dump_json()}))
    process.start()
    return process


def rows_in(work: Path) -> list[int]:
    """The rows whose lines are whole."""
    found = []
    for line in work.read_bytes().split(b"\n") if work.exists() else []:
        try:
            found.append(json.loads(line)["row"])
        except (ValueError, KeyError):
            continue
    return found


def test_three_kills_cost_nothing(base: Path, tmp_path: Path) -> None:
    rows = [{"instruction": f"Add {n} and {n * n}." + " Please." * (n % 7)} for n in range(ROWS)]
    config = PredictConfig(
        model=str(base), input=str(write_jsonl(tmp_path / "in.jsonl", rows)), dtype="float32", batch_size=2,
        sampling=Sampling(max_new_tokens=60, temperature=0.8),
    )  # fmt: skip
    whole = Attempt(tmp_path / "whole")
    run(config, whole)

    killed = tmp_path / "killed"
    for number in (1, 2, 3):
        process = start(config, killed, number, HOLD_AFTER)
        work = killed / f"attempt-{number}" / WORK
        while process.is_alive() and len(rows_in(work)) < 6:
            time.sleep(0.002)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    last = start(config, killed, 4)
    last.join()
    assert last.exitcode == 0
    found = killed / "attempt-4" / "output" / PREDICTIONS
    assert found.read_bytes() == (whole.output / PREDICTIONS).read_bytes()
    times = Counter(row for number in (1, 2, 3, 4) for row in rows_in(killed / f"attempt-{number}" / WORK))
    assert times == Counter(range(1, ROWS + 1))
