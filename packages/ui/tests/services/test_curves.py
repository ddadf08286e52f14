"""Curves: thinned without losing a spike, smoothed, and gathered from events as they come."""

from __future__ import annotations

import pytest
from camelid_ui.services.training.curves import CurvePoint, smooth, thin
from camelid_ui.services.training.run_events import RunReportBuilder
from hypothesis import given
from hypothesis import strategies as st

VALUES = st.lists(st.floats(-1e6, 1e6), max_size=3000)


@given(VALUES, st.integers(4, 600))
def test_thinning_keeps_ends_extremes_and_order(values, most):
    points = [CurvePoint(step, value) for step, value in enumerate(values)]
    kept = thin(points, most)
    assert len(kept) <= max(most, 0)
    assert list(kept) == sorted(set(kept), key=lambda point: point.step)
    assert set(kept) <= set(points)
    if values:
        assert (kept[0], kept[-1]) == (points[0], points[-1])
        assert min(values) == min(point.value for point in kept)
        assert max(values) == max(point.value for point in kept)


def report_of(*events):
    builder = RunReportBuilder()
    for kind, values in events:
        builder.add({"kind": kind, **values})
    return builder.report()


def test_a_steps_last_value_counts_and_what_is_no_number_is_left_out():
    found = report_of(
        ("eval", {"step": 0, "loss": 3.0}),
        ("train", {"step": 5, "loss": 2.0, "learning_rate": 1e-3}),
        ("train", {"step": 10, "loss": 9.0, "learning_rate": 1e-3}),
        ("train", {"step": 10, "loss": 1.0, "learning_rate": 5e-4}),
        ("train", {"step": 15, "loss": "nan"}),
        ("progress", {"done": 3, "unit": "rows", "tokens_per_second": 9.0}),
    )
    assert [(point.step, point.value) for point in found.curves.loss] == [(5, 2.0), (10, 1.0)]
    assert [point.value for point in found.curves.heldout_loss] == [3.0]
    assert [point.value for point in found.curves.smoothed] == pytest.approx([2.0, 1.444], abs=0.01)
    assert found.curves.tokens_per_second == ()
    assert found.loss == 3.0


def test_what_the_run_smoothed_itself_is_taken():
    found = report_of(("train", {"step": 1, "loss": 2.0, "smoothed": 5.0, "tokens_per_second": 7.0, "memory": 10}),
                 ("progress", {"done": 2, "unit": "steps", "tokens_per_second": 1.0, "memory": 30}))  # fmt: skip
    assert [point.value for point in found.curves.smoothed] == [5.0]
    assert [point.value for point in found.curves.tokens_per_second] == [7.0]
    assert found.peak_memory == 30


def test_smoothing_leaves_a_level_line_level():
    assert [point.value for point in smooth([CurvePoint(step, 2.0) for step in range(9)])] == pytest.approx([2.0] * 9)


def test_a_long_run_is_thinned():
    events = (("progress", {"done": step, "unit": "steps", "tokens_per_second": 1.0}) for step in range(20_000))
    found = report_of(*events)
    assert len(found.curves.tokens_per_second) <= 500


def test_samples_are_gathered_by_prompt_and_step():
    event = {"index": 1, "prompt": "2 + 2?", "reference": "4"}
    found = report_of(
        ("sample", {**event, "step": 0, "answer": "no"}),
        ("sample", {"index": 0, "step": 0, "prompt": "a", "answer": "b", "reference": "c"}),
        ("sample", {**event, "step": 20, "answer": "5"}),
        ("sample", {**event, "step": 20, "answer": "4"}),
        ("sample", {"prompt": "no index"}),
    )
    assert [sample.prompt for sample in found.samples] == ["a", "2 + 2?"]
    assert found.samples[1].answers == {0: "no", 20: "4"}


def test_messages_are_kept_in_order_and_the_latest_event_of_each_kind():
    found = report_of(
        ("preflight", {"batch_size": 8}), ("micro_batch", {"batch_size": 4}), ("preflight", {"batch_size": 4}),
        ("log", {"text": "hello"}), ("stop", {"reason": "early"}),
    )  # fmt: skip
    assert [event["kind"] for event in found.messages] == ["micro_batch", "log", "stop"]
    assert found.of("preflight")["batch_size"] == 4
    assert found.of("launch") == {}
