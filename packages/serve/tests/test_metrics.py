"""Metrics: what is equal scores one, what has nothing in common nearly nothing, and means are of what was scored."""

from __future__ import annotations

import pytest
from camelid_serve.metrics import METRICS, ScoreDifferences, ScoreMeans, available, missing, score
from hypothesis import given
from hypothesis import strategies as st

TEXT = st.text("abc 你好.", min_size=1).filter(str.strip)


def test_all_are_there() -> None:
    assert [metric.name for metric in available()] == ["exact", "numeric", "bleu", "chrf"]
    assert missing() == ""


@given(TEXT, TEXT)
def test_scores_lie_between_none_and_all(answer: str, reference: str) -> None:
    scores = score(answer, reference, METRICS)
    assert all(0 <= value <= 1 for value in scores.values())
    assert scores["exact"] == (answer.split() == reference.split())


@pytest.mark.parametrize("text", ["The cat sat on the mat.", "猫坐在垫子上。", "42", "yes"])
def test_the_same_text_scores_one(text: str) -> None:
    assert set(score(text, text, METRICS).values()) == {1.0}


def test_an_answer_may_say_more_around_its_number() -> None:
    scores = score("First 40, then 2 more. The answer is 42.", "The answer is 42.0", METRICS)
    assert (scores["numeric"], scores["exact"]) == (1, 0)
    assert "numeric" not in score("yes", "no number", METRICS)
    assert score("", "The answer is 42.", METRICS) == {"exact": 0, "numeric": 0, "bleu": 0, "chrf": 0}


def test_means_are_of_the_rows_that_were_scored() -> None:
    means = ScoreMeans()
    for scores in ({"exact": 1.0, "numeric": 1.0}, {"exact": 0.0}, {"exact": 0.0}, {}):
        means.add(scores)
    found = means.estimates()
    assert {name: (round(each.mean, 4), each.n) for name, each in found.items()} == {
        "exact": (0.3333, 3), "numeric": (1.0, 1)
    }  # fmt: skip
    assert str(found["exact"]) == "33.3 % ± 45.9 (n 3)"


def test_differences_are_paired_row_by_row() -> None:
    """Two models that are right on the same rows do not differ, however hard the rows are."""
    differences = ScoreDifferences()
    for row in range(40):
        right = float(row % 2)
        differences.add({"exact": right, "chrf": 0.5}, {"exact": right})
    found = differences.differences()
    assert list(found) == ["exact"]
    assert (found["exact"].mean, found["exact"].p, found["exact"].n) == (0, 1, 40)
