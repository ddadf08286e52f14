"""What the events of a run say of its steps, also where it was interrupted."""

from __future__ import annotations

import pytest
from camelid_core.tasks import Interrupted
from camelid_train.run import train


def smoothed(losses: list[float]) -> list[float]:
    """The moving average with weights 0.8ⁿ, written out."""
    means = []
    for count in range(1, len(losses) + 1):
        weights = [0.8 ** (count - 1 - place) for place in range(count)]
        means.append(sum(w * loss for w, loss in zip(weights, losses, strict=False)) / sum(weights))
    return means


def test_each_step_tells_how_it_goes_and_what_it_takes(attempt, recipe):
    run = attempt()
    metrics = train(recipe("train.max_steps=3"), run)
    train_events = run.events("train")
    assert [event["smoothed"] for event in train_events] == pytest.approx(smoothed(run.losses))
    for event in (*train_events, *(event for event in run.events("progress") if event["unit"] == "steps")):
        assert event["memory"] > 0
        assert event["tokens_per_second"] > 0
        assert 0 <= event["mfu"] <= 1
    assert run.events("progress")[-1]["trained_tokens"] == metrics["trained_tokens"]
    assert all(event["leaving"] > 0 for event in run.events("progress") if event["unit"] == "steps")
    assert metrics["mfu"] == run.events("progress")[-1]["mfu"]


@pytest.mark.slow
def test_a_resumed_run_smooths_on_from_where_it_was(attempt, recipe):
    config = recipe("train.max_steps=6", "train.save_steps=2")
    whole, first, last = attempt(job=1), attempt(1, job=2), attempt(2, job=2)
    train(config, whole)
    first.stop_at = (3, "save")
    with pytest.raises(Interrupted):
        train(config, first)
    train(config, last)
    later = {event["step"]: event["smoothed"] for part in (first, last) for event in part.events("train")}
    assert later == {event["step"]: event["smoothed"] for event in whole.events("train")}
