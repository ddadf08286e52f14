"""Warm-up: every step of every run learns, and the peak is reached within the run."""

from __future__ import annotations

import pytest
import torch
from camelid_train.loop.schedule import ScheduleMixin
from camelid_train.run import train
from hypothesis import given
from hypothesis import strategies as st
from transformers import TrainingArguments


class Schedule(ScheduleMixin):
    def __init__(self, **arguments):
        self.args = TrainingArguments("unused", use_cpu=True, learning_rate=1.0, **arguments)
        self.optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], lr=1.0)
        self.lr_scheduler = None

    def rates(self, steps):
        scheduler, rates = self.create_scheduler(steps), []
        for _ in range(steps):
            rates.append(self.optimizer.param_groups[0]["lr"])
            assert scheduler.get_last_lr() == [rates[-1]]
            self.optimizer.step()
            scheduler.step()
        return rates


@given(
    steps=st.integers(1, 40),
    warmup=st.one_of(st.just(0.0), st.just(0.03), st.floats(0, 0.999), st.integers(1, 100)),
    schedule=st.sampled_from(["linear", "cosine", "constant"]),
)
def test_every_step_learns_and_one_has_the_peak(steps, warmup, schedule):
    rates = Schedule(lr_scheduler_type=schedule, warmup_steps=warmup).rates(steps)
    assert min(rates) > 0
    assert max(rates) == 1.0
    peak = rates.index(1.0)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_run_of_few_steps_changes_the_model(attempt, recipe, steps):
    run = attempt()
    train(recipe(f"train.max_steps={steps}"), run)
    assert all(event["learning_rate"] > 0 for event in run.events("train"))
    from safetensors.torch import load_file

    tensors = load_file(run.output / "adapter_model.safetensors")
    assert all(tensor.any() for name, tensor in tensors.items() if "lora_B" in name)
