"""The pre-flight: it says what a run will take, leaves no trace in it, and refuses what cannot work."""

from __future__ import annotations

import shutil
from collections import namedtuple

import pytest
import torch
from camelid_core.commands.event_messages import preflight_lines
from camelid_core.errors import DiskFull
from camelid_core.integrity import sha256
from camelid_core.tasks import Interrupted
from camelid_train.loop.trainer import SftTrainer
from camelid_train.preflight import step_measurement
from camelid_train.preflight.report import BatchProposal, RunSize, propose_batch
from camelid_train.preflight.step_measurement import StepMeasurement
from camelid_train.run import train
from hypothesis import given
from hypothesis import strategies as st

Usage = namedtuple("Usage", "total used free")
MEASURED = ("seconds", "tokens_per_second", "mfu")


@pytest.mark.parametrize(
    "overrides",
    [
        ("method.dropout=0.2", "train.accumulation=2"),
        pytest.param(("method.type=full", "model.rope=dynamic:2"), marks=pytest.mark.slow),
        pytest.param(("method.type=qlora", "method.quantization=int8", "method.dropout=0.2"), marks=pytest.mark.slow),
    ],
    ids=lambda overrides: overrides[0],
)
def test_a_run_ends_with_the_same_bits_with_it_and_without(attempt, recipe, overrides):
    ends = []
    for job, on in ((1, "true"), (2, "false")):
        run = attempt(job=job)
        metrics = train(recipe("train.max_steps=3", *overrides, f"train.preflight={on}"), run)
        ends.append((digests(run), run.losses, {k: v for k, v in metrics.items() if k not in MEASURED}))
        assert len(run.events("preflight")) == (on == "true")
    assert ends[0] == ends[1]


def digests(run) -> dict[str, str]:
    files = {path.name: sha256(path) for path in run.output.glob("*.safetensors")}
    assert files
    return files


def test_it_says_what_the_run_will_take(attempt, recipe):
    run = attempt()
    config = recipe("train.accumulation=2", "train.max_steps=6", "train.save_steps=3", "train.keep=2")
    metrics = train(config, run)
    (event,) = run.events("preflight")
    assert (event["batch_size"], event["accumulation"], event["processes"]) == (8, 2, 1)
    assert (event["global_batch"], event["steps"]) == (16, 6)
    assert event["total_tokens"] == pytest.approx(metrics["total_tokens"], rel=0.25)
    assert event["trained_tokens"] == pytest.approx(metrics["trained_tokens"], rel=0.25)
    assert event["longest"] == max(lengths(run))
    assert 0 < event["peak_memory"] < event["free_memory"]
    assert event["eta"] == pytest.approx(event["step_seconds"] * 6, abs=0.1)
    assert event["step_seconds"] <= event["worst_step_seconds"]
    weights = (run.output / "adapter_model.safetensors").stat().st_size
    assert event["checkpoint_bytes"] == pytest.approx(3 * weights, rel=0.3)
    assert event["checkpoints"] == 3  # two kept, one in the making
    assert event["disk_bytes"] == 3 * event["checkpoint_bytes"] + event["checkpoint_bytes"] // 3
    assert event["proposed"] is None
    text = " ".join(preflight_lines(event))
    assert f"{event['total_tokens']:,} tokens" in text
    assert "8 rows × 2 accumulated × 1 process = 16" in text


def lengths(run) -> list[int]:
    (data,) = run.events("data")
    (event,) = run.events("preflight")
    assert data["total_tokens"] <= data["kept"] * event["longest"]
    return [event["longest"]]


def test_the_worst_batch_has_the_longest_rows(attempt, recipe, monkeypatch):
    seen = []
    step = SftTrainer.training_step

    def watched(self, model, inputs, *rest):
        seen.append(inputs)
        return step(self, model, inputs, *rest)

    monkeypatch.setattr(SftTrainer, "training_step", watched)
    train(recipe("train.max_steps=5", "train.epochs=1"), attempt())
    one, whole, *later = [batch["labels"].shape for batch in seen]
    assert (one[0], whole[0]) == (1, 8)
    assert one[1] == whole[1] == max(length for _, length in later)


@pytest.mark.slow
def test_a_run_that_is_taken_up_again_is_not_measured_again(attempt, recipe):
    first = attempt(1)
    first.stop_at = (2, "save")
    with pytest.raises(Interrupted):
        train(recipe("train.max_steps=3"), first)
    last = attempt(2)
    train(recipe("train.max_steps=3"), last)
    assert (len(first.events("preflight")), len(last.events("preflight"))) == (1, 0)


def test_a_disk_that_is_too_small_is_refused_before_the_first_step(attempt, recipe, monkeypatch):
    run = attempt()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10, 10, 5000))
    with pytest.raises(DiskFull, match=r"needs .* MB on the disk of .*checkpoints of .* and 0\.0 MB are free"):
        train(recipe("data.eval_rows=0"), run)
    assert not run.events("progress")


class Gigabytes:
    """Whatever happens, two are held."""

    bytes = 2 << 30

    def __init__(self, device: object) -> None: ...
    def __enter__(self) -> Gigabytes:
        return self

    def __exit__(self, *_: object) -> None: ...


def test_on_a_processor_what_will_not_fit_is_not_tried(attempt, recipe, monkeypatch):
    """One row takes a gigabyte, as far as anyone can tell, and three are free."""
    monkeypatch.setattr(step_measurement, "_allocated", lambda device: 1 << 30)
    monkeypatch.setattr(step_measurement, "_free", lambda device: 4 << 30)
    monkeypatch.setattr(step_measurement, "PeakMemory", Gigabytes)
    run = attempt()
    train(recipe("train.max_steps=1"), run)
    (event,) = run.events("micro_batch")
    assert event["batch_size"] == 2
    assert run.events("preflight")[0]["batch_size"] == 8


def test_a_long_first_step_has_no_second(attempt, recipe, monkeypatch):
    monkeypatch.setattr(step_measurement, "MAX_FIRST_STEP_SECONDS", 0.0)
    run = attempt()
    train(recipe("train.max_steps=1"), run)
    (event,) = run.events("preflight")
    assert event["peak_memory"] > 0
    assert event["eta"] >= 0


def work(batch: int, accumulation: int) -> RunSize:
    return RunSize(10, 1.0, 100, 50, batch, accumulation, 2)


def measured(fixed: int, per_row: int, rows: int, free: int, micro_batch_rows: int | None = None) -> StepMeasurement:
    return StepMeasurement(
        fixed + per_row * (micro_batch_rows or rows), free, fixed, per_row, rows, micro_batch_rows or rows, 64, 1.0
    )


@given(
    batch=st.integers(1, 64),
    accumulation=st.integers(1, 16),
    fixed=st.integers(0, 900),
    per_row=st.integers(0, 300),
    device=st.sampled_from(["cpu", "cuda"]),
)
def test_a_proposal_keeps_the_global_batch_and_is_expected_to_fit(batch, accumulation, fixed, per_row, device):
    found = propose_batch(work(batch, accumulation), measured(fixed, per_row, batch, 1000), device)
    if found is None:
        return
    assert found.batch_size * found.accumulation == batch * accumulation
    assert found.batch_size != batch
    assert found.batch_size == 1 or fixed + per_row * found.batch_size <= 850
    assert device == "cuda" or found.batch_size < batch


@pytest.mark.parametrize(
    ("rows", "accumulation", "per_row", "device", "wanted"),
    [
        (8, 2, 200, "cpu", BatchProposal(4, 4)),  # too much
        (8, 2, 10, "cpu", None),  # plenty of room, and a processor gains nothing from more rows
        (2, 16, 10, "cuda", BatchProposal(32, 1)),  # a card that idles
        (2, 1, 10, "cuda", None),  # nothing accumulated to put together
        (5, 3, 400, "cuda", BatchProposal(1, 15)),
    ],
)
def test_proposals(rows, accumulation, per_row, device, wanted):
    assert propose_batch(work(rows, accumulation), measured(20, per_row, rows, 1000), device) == wanted


def test_random_numbers_and_positions_are_as_before(attempt, recipe):
    """Dynamic positions grow with the longest row seen; the measured step is no row of the run."""
    import random

    import numpy as np
    from accelerate import Accelerator

    class Grows(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.zeros(3), persistent=False)
            self.longest = 1

    class Trainer:
        accelerator = Accelerator(cpu=True)

    model = torch.nn.Sequential(Grows(), torch.nn.Dropout()).eval()
    state = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].tolist()
    with step_measurement.restored_afterwards(Trainer(), model):
        model.train()
        model[0].longest = 99
        model[0].table += 1
        model[0].register_buffer("table", torch.ones(7), persistent=False)
        random.random(), torch.rand(3), np.random.rand(3)
    assert (model.training, model[1].training) == (False, False)
    assert (model[0].longest, model[0].table.tolist()) == (1, [0.0] * 3)
    assert random.getstate() == state[0]
    assert torch.equal(torch.get_rng_state(), state[1])
    assert np.random.get_state()[1].tolist() == state[2]
