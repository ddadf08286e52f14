"""A prediction in shards is that of one process, wherever each piece is killed and however often."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import pytest
from camelid_core.errors import UsageError
from camelid_core.jobs import pieces
from camelid_core.jobs.attempt_result import AttemptResult, Outcome
from camelid_core.jobs.run_directories import OUTPUT
from camelid_core.testing import write_jsonl
from camelid_serve.config import PredictConfig, PredictLaunch
from camelid_serve.engine import Sampling
from camelid_serve.predict.inputs import PREDICTIONS
from camelid_serve.predict.shards import row_ranges
from camelid_serve.predict.task import run
from camelid_serve.predict.work_log import WORK, WorkLog
from hypothesis import given
from hypothesis import strategies as st

from .context import Attempt

ROWS = 23


class PowerCut(BaseException):
    """What no code of a piece catches."""


class Cluster:
    """Runs pieces one after the other in this process; try n of each ends after `cuts[n]` answered rows."""

    def __init__(self, monkeypatch, cuts: tuple[int, ...]) -> None:
        self._monkeypatch, self._cuts = monkeypatch, cuts

    def run_pieces(self, wanted, directory, tick, apart=False):
        results = {}
        for piece in wanted:
            text = json.dumps(dataclasses.asdict(piece))
            for number, rows in enumerate((*self._cuts, 10**9), 1):
                try:
                    with self._monkeypatch.context() as patched:
                        cut_after(patched, rows)
                        values = json.loads(pieces.run_piece(directory, text, number))
                except PowerCut:
                    tick()
                    continue
                results[piece.name] = AttemptResult(**values | {"how": Outcome(values["how"])})
                break
        return results


def cut_after(monkeypatch, rows: int) -> None:
    add, left = WorkLog.add, [rows]

    def added(log, row, result):
        if not left[0]:
            raise PowerCut
        left[0] -= 1
        add(log, row, result)

    monkeypatch.setattr(WorkLog, "add", added)


@given(st.integers(1, 2000), st.integers(1, 256))
def test_ranges_have_every_row_once_and_none_is_empty(rows, shards):
    ranges = row_ranges(rows, shards)
    assert [row for first, last in ranges for row in range(first, last + 1)] == list(range(1, rows + 1))
    sizes = [last - first + 1 for first, last in ranges]
    assert len(ranges) == min(rows, shards)
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("shards", "cuts"), [(2, ()), (3, (2, 0, 3))])
def test_the_result_is_that_of_one_process(base: Path, tmp_path: Path, monkeypatch, shards, cuts):
    rows = [{"instruction": f"Add {n} and {n * n}."} for n in range(ROWS)]
    rows[4] = {"instruction": ""}  # invalid
    config = PredictConfig(
        model=str(base), input=str(write_jsonl(tmp_path / "in.jsonl", rows)), dtype="float32", batch_size=4,
        sampling=Sampling(max_new_tokens=6, temperature=0.8),
    )  # fmt: skip
    alone = Attempt(tmp_path / "alone")
    run(config, alone)
    monkeypatch.setattr(pieces, "_runner", lambda name: Cluster(monkeypatch, cuts))
    divided = Attempt(tmp_path / "divided")
    figures = run(config.model_copy(update={"launch": PredictLaunch(executor="here", shards=shards)}), divided)
    place = divided.directory
    assert (divided.output / PREDICTIONS).read_bytes() == (alone.output / PREDICTIONS).read_bytes()
    logs = [json.loads(line) for path in place.rglob(WORK) for line in path.read_text().splitlines()]
    answered = Counter(line["row"] for line in logs if "row" in line)
    assert answered == Counter(range(1, ROWS + 1)), "every row is answered by one piece, in one try"
    assert figures["rows"] == ROWS
    assert divided.directory / OUTPUT == divided.output


def test_an_executor_that_divides_nothing_is_refused_with_those_that_do(base: Path, tmp_path: Path):
    config = PredictConfig(
        model=str(base), input=str(write_jsonl(tmp_path / "in.jsonl", [{"instruction": "a"}, {"instruction": "b"}])),
        launch=PredictLaunch(shards=2),
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"launch\.executor='local' runs a job on one machine"):
        run(config, Attempt(tmp_path / "run"))
