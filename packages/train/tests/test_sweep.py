"""Sweeps: every combination once, checked before anything is queued, and compared at the end."""

from __future__ import annotations

import json
import random

import pytest
from camelid_core.errors import ConfigError, UsageError
from camelid_core.jobs.job import Job, JobState
from camelid_train.monitoring.heldout_rows import FILE
from camelid_train.sweep import compared, shown, sweep_steps


def test_every_combination_is_one_run(recipe):
    steps = sweep_steps(recipe(), ["train.learning_rate=1e-4,3e-4", "method.r=4,8"])
    assert [step.set for step in steps] == [
        ["train.learning_rate=0.0001", "method.r=4"], ["train.learning_rate=0.0001", "method.r=8"],
        ["train.learning_rate=0.0003", "method.r=4"], ["train.learning_rate=0.0003", "method.r=8"],
    ]  # fmt: skip
    assert [(step.settings["train"]["learning_rate"], step.settings["method"]["r"]) for step in steps] == [
        (1e-4, 4), (1e-4, 8), (3e-4, 4), (3e-4, 8),
    ]  # fmt: skip
    assert [step.label for step in steps][:2] == ["learning_rate-0.0001-r-4", "learning_rate-0.0001-r-8"]


def test_texts_and_lists_are_values_too(recipe):
    names = sweep_steps(recipe(), ["train.schedule=linear,cosine"])
    assert [step.settings["train"]["schedule"] for step in names] == ["linear", "cosine"]
    lists = sweep_steps(recipe(), ['method.targets=["q_proj"],["q_proj", "v_proj"]'])
    assert [step.settings["method"]["targets"] for step in lists] == [["q_proj"], ["q_proj", "v_proj"]]
    long = sweep_steps(recipe(), [f'data.template="{"a" * 60}","{"a" * 61}"'])
    assert [step.label for step in long] == ["run-1", "run-2"]


def test_each_result_has_a_place_of_its_own(recipe):
    steps = sweep_steps(recipe("train.output=./mine"), ["method.r=4,8"])
    places = [step.settings["train"]["output"] for step in steps]
    assert [place.rpartition("/")[2] for place in places] == ["mine-r-4", "mine-r-8"]


@pytest.mark.parametrize(
    ("sweeps", "error", "words"),
    [
        (["method.r"], UsageError, "'method.r' is no sweep; write section.field=value,value"),
        (["method.r=8"], UsageError, "is no sweep"),
        (["method.r=8,8"], UsageError, "has a value twice"),
        (["method.r=8,4", "method.r=2,1"], UsageError, "'method.r' is swept twice"),
        (["method.r=8,-1"], ConfigError, "method.*r"),
        (["method.rank=8,4"], ConfigError, "rank"),
        ([f"train.seed={','.join(map(str, range(501)))}"], UsageError, "501 combinations are too many"),
    ],
)
def test_what_is_no_sweep_is_said(recipe, sweeps, error, words):
    with pytest.raises(error, match=words):
        sweep_steps(recipe(), sweeps)


def test_the_lowest_held_out_loss_comes_first_and_runs_without_one_last(recipe):
    steps = sweep_steps(recipe(), ["method.r=1,2,4,8"])
    losses = {"r-1": 0.5, "r-2": 0.25, "r-4": None}
    jobs = {
        name: Job(number, "train", {}, state=JobState.SUCCEEDED, summary={"eval_loss": loss, "heldout_rows": 9})
        for number, (name, loss) in enumerate(losses.items(), 1)
    }
    rows = compared(steps, jobs)
    assert [row["method.r"] for row in rows] == ["2", "1", "4", "8"]
    assert [row["state"] for row in rows] == ["succeeded"] * 3 + ["not run"]
    assert rows[0]["heldout_rows"] == 9
    assert [row["difference"] for row in rows] == [None] * 4  # no losses by row were kept


def test_losses_are_compared_row_by_row(recipe, tmp_path):
    """A run that is a little better on every row is told from chance, though rows differ far more from each other."""
    steps = sweep_steps(recipe(), ["method.r=1,2,4"])
    jobs = {}
    for number, (name, more) in enumerate({"r-1": 0.3, "r-2": 0.0, "r-4": 0.01}.items(), 1):
        place = tmp_path / name
        place.mkdir()
        noise = random.Random(number)
        lines = [
            {
                "row": str(row),
                "loss": 10 * row + 10 * more + noise.gauss(0, 0.5 if name == "r-4" else 0.05),
                "tokens": 10,
            }
            for row in range(20)
        ]
        (place / FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
        loss = sum(line["loss"] for line in lines) / 200
        jobs[name] = Job(
            number, "train", {}, state=JobState.SUCCEEDED, summary={"eval_loss": loss}, published=str(place)
        )
    rows = compared(steps, jobs)
    by_rank = {row["method.r"]: row["difference"] for row in rows}
    assert by_rank[rows[0]["method.r"]] is None
    assert rows[0]["method.r"] != "1"
    assert by_rank["1"]["low"] > 0.2
    assert by_rank["1"]["p_holm"] < 0.001
    assert by_rank["1"]["clusters"] == 20
    table = shown(rows)
    assert table[0]["difference"] == "lowest"
    assert " ± " in table[-1]["difference"]
    (tmp_path / "r-1" / FILE).unlink()
    assert {row["method.r"]: row["difference"] for row in compared(steps, jobs)}["1"] is None
