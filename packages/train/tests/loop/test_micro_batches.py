"""When memory runs out the micro-batch is halved at an equal global batch: the run goes on and ends with the same
weights, as near as rounding allows."""

from __future__ import annotations

import pytest
import torch
from camelid_core.errors import TrainingError
from camelid_core.tasks import Interrupted
from camelid_train.loop.micro_batches import halved_on_out_of_memory, is_out_of_memory
from camelid_train.loop.trainer import SftTrainer
from camelid_train.run import train
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

BLIND = "train.preflight=false"


def full(rows: int) -> torch.OutOfMemoryError:
    return torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {rows} GiB. GPU 0 has a total capacity of 1.")


@pytest.fixture
def memory(monkeypatch):
    """Memory for so many rows at once, 0 for one whose activations are recomputed; with `backward` it is full only
    on the way back, when most gradients are made."""
    compute = SftTrainer.compute_loss
    seen = []

    def limit(room: int, backward: bool = False, error=full) -> list[int]:
        def limited(self, model, inputs, *rest, **options):
            rows = len(inputs.get("row_lengths") or inputs["labels"])
            seen.append(rows)
            fits = rows <= room or (room == 0 and rows == 1 and self.model.is_activation_checkpointing)
            if not fits and not backward:
                raise error(rows)
            loss = compute(self, model, inputs, *rest, **options)
            if not fits:
                last = next(parameter for parameter in model.parameters() if parameter.requires_grad)
                last.register_post_accumulate_grad_hook(Fail(error(rows)))
            return loss

        monkeypatch.setattr(SftTrainer, "compute_loss", limited)
        return seen

    return limit


class Fail:
    """Raises once, at the end of a backward pass."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error

    def __call__(self, _: torch.Tensor) -> None:
        if self.error is not None:
            error, self.error = self.error, None
            raise error


def weights(run) -> dict[str, torch.Tensor]:
    return load_file(run.output / "adapter_model.safetensors")


def far(one, two) -> float:
    a, b = weights(one), weights(two)
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize(
    ("size", "accumulation", "room", "backward"),
    [
        (5, 3, 1, True),
        pytest.param(8, 1, 3, False, marks=pytest.mark.slow),
        pytest.param(2, 2, 0, False, marks=pytest.mark.slow),
    ],
)
def test_it_ends_with_the_weights_that_enough_memory_gives(attempt, recipe, memory, size, accumulation, room, backward):
    config = recipe(f"train.batch_size={size}", f"train.accumulation={accumulation}", "train.max_steps=3", BLIND)
    easy, hard = attempt(job=1), attempt(job=2)
    enough = train(config, easy)
    seen = memory(room, backward)
    metrics = train(config, hard)
    assert far(easy, hard) < 1e-5
    assert max(seen) == size
    counts = ("trained_tokens", "total_tokens", "steps")
    assert {name: metrics[name] for name in counts} == {name: enough[name] for name in counts}
    assert metrics["final_loss"] == pytest.approx(enough["final_loss"], abs=1e-3)
    events = hard.events("micro_batch")
    assert events[-1]["batch_size"] <= max(1, room)
    assert events[-1]["accumulation"] * events[-1]["batch_size"] >= size * accumulation
    assert [event["batch_size"] for event in events] == sorted((e["batch_size"] for e in events), reverse=True)
    assert any("Memory ran out" in event["text"] for event in hard.events("log"))


@pytest.mark.parametrize(
    ("error", "meant"),
    [
        (full(3), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you"), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory."), False),
    ],
)
def test_every_device_runs_out_of_memory_in_its_own_words(error, meant):
    assert is_out_of_memory(error) is meant


def test_other_errors_are_not_taken_for_it(attempt, recipe, memory):
    memory(4, error=lambda rows: RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        train(recipe("train.max_steps=1", BLIND), attempt())


@pytest.mark.slow
def test_a_resumed_run_remembers_what_fits_and_ends_with_the_same_bits(attempt, recipe, memory):
    config = recipe("train.max_steps=4", BLIND)
    memory(3)
    whole = attempt(job=1)
    train(config, whole)
    first = attempt(1, job=2)
    first.stop_at = (2, "save")
    with pytest.raises(Interrupted):
        train(config, first)
    last = attempt(2, job=2)
    seen = memory(3)
    seen.clear()
    train(config, last)
    assert max(seen) <= 3
    assert far(whole, last) == 0.0


def test_activations_are_kept_where_the_recipe_says_so(attempt, recipe, memory):
    memory(0)
    with pytest.raises(TrainingError, match="with a single row"):
        train(recipe("train.batch_size=1", "train.max_steps=1", "train.gradient_checkpointing=off", BLIND), attempt())


def test_measuring_takes_fewer_rows_too():
    asked = []

    def measure(rows: int) -> float:
        asked.append(rows)
        if rows > 3:
            raise full(rows)
        return 1.5

    assert halved_on_out_of_memory(measure, 16) == 1.5
    assert asked == [16, 8, 4, 2]
    with pytest.raises(torch.OutOfMemoryError):
        halved_on_out_of_memory(lambda rows: measure(9), 2)


def test_a_single_row_that_does_not_fit_computes_activations_again_and_then_says_what_to_lower(attempt, recipe, memory):
    run = attempt()
    memory(-1)
    with pytest.raises(
        TrainingError,
        match=r"with a single row at a time \(CUDA out of memory\. Tried to allocate 1 GiB\.\)\. Lower data\.cutoff",
    ):
        train(recipe("train.max_steps=1", "data.eval_rows=0", BLIND), run)
    assert [event["batch_size"] for event in run.events("micro_batch")] == [4, 2, 1, 1]
    assert "recomputed" in run.events("log")[-1]["text"]


@pytest.mark.parametrize(
    ("size", "sentence"),
    [(8, r"none can take fewer rows alone\. Set train\.batch_size=4 train\.accumulation=2"), (1, "lower data.cutoff")],
)
def test_who_holds_a_shard_of_the_model_cannot_halve_alone_and_says_what_to_set(
    attempt, recipe, memory, monkeypatch, size, sentence
):
    monkeypatch.setattr(SftTrainer, "is_sharded_model", True)
    memory(0)
    with pytest.raises(TrainingError, match=sentence):
        train(recipe(f"train.batch_size={size}", "train.max_steps=1", BLIND), attempt())


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(1, 10))
@settings(max_examples=50, deadline=None)
def test_micro_batches_hold_every_row_once_in_order_and_no_label_is_lost(lengths, rows):
    from camelid_core.tokenization.encoder import IGNORE, Example
    from camelid_train.loop.batches import Collator
    from camelid_train.loop.micro_batches import MicroBatchMixin

    examples = [Example(list(range(1, n + 1)), [IGNORE, *range(2, n + 1)]) for n in lengths]
    splitter = MicroBatchMixin()
    splitter.pad_id = 2  # a token that the text uses, too
    batch = Collator(2)(examples)
    parts = splitter.parts(batch, rows)
    assert [len(part["labels"]) for part in parts[:-1]] == [rows] * (len(parts) - 1)
    found = [row for part in parts for row in part["labels"].tolist()]
    assert [[label for label in row if label != IGNORE] for row in found] == [e.labels[1:] for e in examples]
    assert sum(len(part["labels"]) for part in parts) == len(lengths)
