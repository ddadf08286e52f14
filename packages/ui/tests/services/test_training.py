"""Training: estimates that hold, refusals that name the field, curves that resume."""

from __future__ import annotations

import pytest
from camelid_train.config import Recipe
from camelid_ui.fields import Invalid
from camelid_ui.services.training import curves


def recipe(*overrides):
    return Recipe().with_overrides(["model.name=tiny", *overrides])


def test_the_estimate_counts_rows_steps_and_tokens(services):
    found = services.training.estimate(recipe("train.batch_size=8", "train.epochs=2"), services.data)
    assert (found.rows, found.steps) == (4000, 1000)
    lengths = services.data.lengths.sample("cot-arithmetic-en", "tiny")
    assert found.tokens == pytest.approx(8000 * lengths.tokens.mean(), rel=0.01)
    assert 0 < found.trained_tokens < found.tokens
    assert found.fits
    assert found.seconds == 0


def test_the_estimate_heeds_limits(services):
    found = services.training.estimate(recipe("train.max_steps=10", "data.rows=100", "data.cutoff=64"), services.data)
    cut = services.data.lengths.sample("cot-arithmetic-en", "tiny").at(64)
    assert (found.rows, found.steps, found.tokens) == (100, 10, int(40 * cut.tokens / cut.rows))
    assert found.truncated == 1.0
    assert found.dropped == cut.dropped / cut.rows


def test_an_estimate_says_that_a_run_would_refuse_to_start(services):
    assert services.training.estimate(recipe("data.cutoff=16"), services.data).dropped == 1.0


@pytest.mark.parametrize(
    ("overrides", "rows"),
    [
        (["data.sources=['cot-arithmetic-en:0.5', 'cot-arithmetic-zh']"], 6000),
        (["data.sources=['cot-arithmetic-en:0.5+cot-arithmetic-zh']"], 6000),
        (["data.sources=['cot-arithmetic-en', 'cot-arithmetic-zh']", "data.caps={cot-arithmetic-en=100}"], 4100),
    ],
)
def test_the_mixture_decides_how_many_rows(services, overrides, rows):
    assert services.training.estimate(recipe(*overrides), services.data).rows == rows


def test_a_file_that_is_no_set_is_estimated_too(services, questions):
    found = services.training.estimate(recipe(f"data.sources=['{questions}']", "data.eval_rows=0"), services.data)
    assert found.rows == 5


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("model.name=tinny", "model.name"),
        ("model.name=smollm2-135m", "model.name"),
        ("data.sources=['cot-arithmetik']", "data.sources"),
        ("data.template=alpacca", "data.template"),
    ],
)
def test_what_would_fail_is_refused_at_its_field(services, override, path):
    with pytest.raises(Invalid) as caught:
        services.training.start(recipe(override))
    assert list(caught.value.errors) == [path]
    assert services.jobs.all() == []


def test_an_adapter_is_no_base(services, adapter):
    with pytest.raises(Invalid, match="merge it first"):
        services.training.start(recipe(f"model.name={adapter}"))


def test_a_run_is_a_job_with_its_settings(services):
    job = services.training.start(recipe("train.max_steps=3"), "mine")
    run = services.training.show(job.id)
    assert (run.model, run.data, run.loss, run.artefact) == ("tiny", "cot-arithmetic-en", None, "")
    assert services.training.recipe_of(job.id).train.max_steps == 3
    assert [each.job.name for each in services.training.all()] == ["mine"]


def test_the_command_line_says_the_same(services):
    assert (
        services.training.command(recipe("train.max_steps=3"), "mine")
        == "camelid train model.name=tiny train.max_steps=3 --name mine"
    )


def test_curves_take_a_steps_last_value_and_leave_out_what_is_no_number():
    events = [
        {"kind": "eval", "step": 0, "loss": 3.0},
        {"kind": "train", "step": 5, "loss": 2.0, "learning_rate": 1e-3},
        {"kind": "train", "step": 10, "loss": 9.0, "learning_rate": 1e-3},
        {"kind": "train", "step": 10, "loss": 1.0, "learning_rate": 5e-4},
        {"kind": "train", "step": 15, "loss": "nan"},
        {"kind": "progress", "done": 3},
    ]
    found = curves(events)
    assert [(point.step, point.value) for point in found.loss] == [(5, 2.0), (10, 1.0)]
    assert [point.value for point in found.heldout] == [3.0]
    assert [point.value for point in found.smoothed()] == pytest.approx([2.0, 1.444], abs=0.01)
