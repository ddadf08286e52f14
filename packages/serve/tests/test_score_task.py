"""The score task: models × evaluations with intervals and paired differences; every item kept; resumable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from camelid_core.artefacts import verify_directory
from camelid_core.errors import ConfigError, DataError, ModelError, UnknownName, UsageError
from camelid_core.plugins import load_host
from camelid_core.statistics import Difference, Estimate
from camelid_core.tasks import Interrupted
from camelid_core.testing import tiny_model, write_jsonl
from camelid_serve.evaluations import score_task
from camelid_serve.evaluations.evaluation import Measure
from camelid_serve.evaluations.item_files import item_file, read_items, scores_in
from camelid_serve.evaluations.score_config import ScoreConfig
from camelid_serve.evaluations.score_table import Column, markdown, notes, shown_rows, table

from .context import Attempt

ROWS = [
    *(
        {"instruction": f"What is {n} + {n}?", "output": f"{n} + {n} = {2 * n}. The answer is {2 * n}."}
        for n in range(8)
    ),
    {"instruction": "Which?\nOptions:\n(A) red\n(B) blue", "output": "The answer is (A)."},
    {"instruction": "Where?\nOptions:\n- here\n- there", "output": "The answer is there."},
]

BOTH = ("exact-answer", "choice-likelihood")


@pytest.fixture
def data(tmp_path: Path) -> str:
    return str(write_jsonl(tmp_path / "rows.jsonl", ROWS))


def config(data: str, *models: Path, ask: tuple[str, ...] = BOTH, **more: Any) -> ScoreConfig:
    values = {"models": list(map(str, models)), "tasks": [f"{each}={data}" for each in ask], "dtype": "float32"}
    return ScoreConfig(**{**values, "max_new_tokens": 5, "batch_size": 4, **more})


def results(attempt: Attempt) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((attempt.output / score_task.RESULTS).read_text(encoding="utf-8"))
    return found


def test_models_are_scored_item_by_item_and_compared_in_pairs(
    base: Path, adapter: Path, data: str, tmp_path: Path
) -> None:
    attempt = Attempt(tmp_path / "job")
    score_task.run(config(data, base, adapter), attempt)
    found = results(attempt)
    assert (found["models"], found["baseline"]) == (["tiny", "adapter"], "tiny")
    exact, likely = found["columns"]
    assert (exact["items"], sum(exact["skipped"].values())) == (8, 2)
    assert (likely["items"], sum(likely["skipped"].values())) == (2, 8)
    for model in found["models"]:
        items = read_items(item_file(attempt.output, "exact-answer", model))
        right = [item["scores"]["right"] for item in items]
        assert exact["measures"][0]["estimates"][model]["mean"] == sum(right) / 8
        assert all(item["id"] and item["gold"] and item["question"] and len(item["answers"]) == 1 for item in items)
    gap = exact["measures"][0]["differences"]["adapter"]
    assert set(exact["measures"][0]["differences"]) == {"adapter"}
    assert (gap["n"], gap["verdict"]) == (8, "undecided")
    assert gap["low"] < 0 < gap["high"]
    probability = likely["measures"][2]
    assert probability["differences"]["adapter"]["mean"] != 0
    manifest = verify_directory(attempt.output).manifest
    assert (manifest.kind, [use.rows for use in manifest.datasets]) == ("evaluation", [8, 2])
    assert "items/exact-answer/tiny.jsonl" in manifest.files
    text = (attempt.output / score_task.TABLE).read_text(encoding="utf-8")
    assert "minus the baseline" in text
    assert "2 rows are no items" in text


def test_it_goes_on_where_it_was_and_asks_nothing_twice(
    tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [tiny_model(tmp_path / "a"), tiny_model(tmp_path / "b", seed=1)]
    whole = Attempt(tmp_path / "whole")
    score_task.run(config(data, *models), whole)
    first, second = Attempt(tmp_path / "job", 1, "save", 11), Attempt(tmp_path / "job", 2)
    with pytest.raises(Interrupted):
        score_task.run(config(data, *models), first)
    asked: list[int] = []
    answers = score_task.item_answers

    def counted(loaded: Any, evaluation: Any, items: Any, *more: Any) -> Any:
        asked.append(len(items))
        return answers(loaded, evaluation, items, *more)

    monkeypatch.setattr(score_task, "item_answers", counted)
    score_task.run(config(data, *models), second)
    assert sum(asked) == 20 - 11
    assert results(second) == results(whole)
    for model in ("a", "b"):
        files = [item_file(each.output, "exact-answer", model).read_bytes() for each in (whole, second)]
        assert files[0] == files[1]


def test_asked_to_finish_it_says_that_items_are_missing(base: Path, data: str, tmp_path: Path) -> None:
    attempt = Attempt(tmp_path / "job", 1, "finish", 3)
    score_task.run(config(data, base, ask=("exact-answer",)), attempt)
    column = results(attempt)["columns"][0]
    assert 3 <= column["items"] < 8
    assert "finish early" in column["note"]
    assert "error" in read_items(item_file(attempt.output, "exact-answer", "tiny"))[-1]
    with pytest.raises(DataError, match="before an item"):
        score_task.run(config(data, base), Attempt(tmp_path / "none", 1, "finish"))


def test_an_item_that_a_model_cannot_take_has_no_score_and_is_counted(base: Path, tmp_path: Path) -> None:
    rows = [*ROWS[:3], {"instruction": "long " * 2000, "output": "The answer is 3."}]
    attempt = Attempt(tmp_path / "job")
    score_task.run(config(str(write_jsonl(tmp_path / "long.jsonl", rows)), base, ask=("exact-answer",)), attempt)
    column = results(attempt)["columns"][0]
    assert (column["failed"], column["items"]) == ({"tiny": 1}, 4)
    assert column["measures"][0]["estimates"]["tiny"]["n"] == 3
    assert any("did not answer 1 of 4" in note for note in notes(results(attempt)))


def test_what_cannot_be_scored_is_said_before_a_model_is_loaded(base: Path, data: str, tmp_path: Path) -> None:
    other = str(write_jsonl(tmp_path / "more.jsonl", ROWS))
    for number, (wrong, error, words) in enumerate(
        (
            ({"tasks": ["exact-anser"]}, UnknownName, "exact-answer"),
            ({"tasks": ["choice-text"]}, UsageError, "choice-text=rows.jsonl"),
            ({"tasks": [f"choice-text={data}", f"choice-text={data}"]}, UsageError, "twice"),
            ({"tasks": [f"exact-answer={tmp_path / 'none.jsonl'}"]}, UnknownName, "none.jsonl"),
            ({"tasks": [], "suite": "tuluu", "files": str(tmp_path)}, UnknownName, "tulu"),
            ({"tasks": [], "suite": "tulu"}, UsageError, "mmlu"),
        )
    ):
        with pytest.raises(error, match=words):
            score_task.run(config(data, base, **wrong), Attempt(tmp_path / f"job-{number}"))
    for wrong in ({"tasks": [], "suite": ""}, {"baseline": "x"}, {"models": [str(base), str(base)]}):
        with pytest.raises((ConfigError, ValueError)):
            config(data, base, **wrong)
    none = str(write_jsonl(tmp_path / "none-at-all.jsonl", [{"instruction": "Hello?", "output": "Hi."}]))
    with pytest.raises(DataError, match="states nothing that can be compared"):
        score_task.run(config(none, base, ask=("exact-answer",)), Attempt(tmp_path / "empty"))
    chosen = config(data, base).model_copy(update={"tasks": [f"choice-text={data}", f"choice-text={other}"]})
    names = [each.evaluation.name for each in score_task.chosen_evaluations(chosen, load_host()).evaluations]
    assert names == ["choice-text rows", "choice-text more"]


RIGHT = (Measure("right", "It is right."), Measure("loss", "Loss.", share=False, better="lower"))


def rows_of(right: list[float], loss: float) -> list[dict[str, Any]]:
    return [{"id": str(n), "scores": {"right": each, "loss": loss + n % 3}} for n, each in enumerate(right)]


def test_a_table_has_intervals_verdicts_and_how_many_rows_would_decide() -> None:
    """Better in one column and undecided in the other; lower is better where the measure says so."""
    good = Column("good", "", RIGHT, {"base": rows_of([0, 1] * 30, 2.0), "tuned": rows_of([1] * 60, 1.0)})
    same = Column("same", "", RIGHT, {"base": rows_of([0, 1] * 30, 2.0), "tuned": rows_of([0, 1, 1] * 20, 2.5)})
    found = table([good, same], ["base", "tuned"], "base")
    firsts = {each["name"]: each["measures"][0]["differences"]["tuned"] for each in found["columns"]}
    assert {name: each["verdict"] for name, each in firsts.items()} == {"good": "better", "same": "undecided"}
    p = {name: Difference.from_json(each).p for name, each in firsts.items()}
    assert firsts["good"]["p_holm"] == pytest.approx(2 * p["good"])  # type: ignore[operator]
    assert firsts["same"]["p_holm"] == pytest.approx(max(p["same"], 2 * p["good"]))  # type: ignore[operator, type-var]
    losses = [each["measures"][1]["differences"]["tuned"]["verdict"] for each in found["columns"]]
    assert losses == ["better", "worse"]
    rows = shown_rows(found)
    assert list(rows[0]) == ["model", "good", "same"]
    assert rows[0]["model"] == "base (baseline)"
    assert rows[1]["good"] == str(Estimate.from_json(found["columns"][0]["measures"][0]["estimates"]["tuned"]))
    assert rows[2]["good"].endswith("after Holm): better")
    assert list(shown_rows(found, every=True)[0])[2] == "good: loss"
    assert any("items would show a difference" in each for each in notes(found))
    assert markdown(found).count("\n| ") >= 4
    bare = [cell for row in rows for name, cell in row.items() if name != "model" and "±" not in cell]
    assert bare == []


def test_seeds_of_one_arm_are_read_from_their_items() -> None:
    seeds = [rows_of([1, 0, 1, 1], 1.0), rows_of([1, 1, 0], 1.0)]
    found = scores_in(seeds, "right", True)
    assert found is not None
    assert found.values.tolist() == [[1, 0, 1], [1, 1, 0]]
    assert scores_in([[{"id": "x", "error": "no"}]], "right", True) is None


def test_a_damaged_file_of_items_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="score the model again"):
        read_items(tmp_path / "x.jsonl")


def test_an_engine_without_log_probabilities_says_so(base: Path, data: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("camelid_serve.continuations.ScoresContinuations", int)
    monkeypatch.setattr("camelid_serve.continuations.ComputesPromptLogprobs", int)
    with pytest.raises(ModelError, match="tells no log-probabilities"):
        score_task.run(config(data, base, ask=("choice-likelihood",)), Attempt(tmp_path / "job"))
