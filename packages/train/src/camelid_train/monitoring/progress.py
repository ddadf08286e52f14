"""Progress and training metrics as events: loss, gradient norm, learning rate, throughput, MFU, memory, time left.

Knows the task context and the Trainer's callbacks. Computes nothing but rates.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import psutil
import torch
from camelid_core.tasks import TaskContext
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from camelid_train.loop.memory import optimizer_bytes, trainable_bytes
from camelid_train.saving.run_totals import RunTotals

from .evaluation import PeriodicEvaluation
from .stop_rules import raise_if_stop_requested

_SECOND = 1.0
_SAVED_PER_SECOND = 50e6
"""Bytes of a checkpoint that a slow disk writes per second, checksums included."""


class ProgressReporter(TrainerCallback):
    """Emits `progress` each step (done, total, unit, elapsed, eta and leaving in seconds, tokens_per_second, mfu,
    trained_tokens, memory in bytes) and `train` with the loss; evaluates when `evaluations` are due."""

    def __init__(
        self,
        context: TaskContext,
        totals: RunTotals,
        evaluations: PeriodicEvaluation,
        extra_metrics: Mapping[str, str] | None = None,
    ) -> None:
        """`extra_metrics`: further metrics of the trainer's logs that go into `train` events: key there → name in the
        event."""
        self.context = context
        self.totals = totals
        self.evaluations = evaluations
        self.extra_metrics = extra_metrics or {}
        self.mfu_per_token_rate: float | None = None  # MFU at one token per second
        self._began = 0.0
        self._saving = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **_: Any
    ) -> None:
        self._began = time.monotonic() - self.totals.seconds
        self._saving = (trainable_bytes(model) + optimizer_bytes(model)) / _SAVED_PER_SECOND

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        seconds = self.totals.seconds = time.monotonic() - self._began
        self.context.emit(
            "progress",
            done=state.global_step,
            total=state.max_steps,
            unit="steps",
            elapsed=round(seconds, 1),
            eta=round(seconds / state.global_step * (state.max_steps - state.global_step), 1),
            leaving=round(2 * seconds / state.global_step + self._saving, 3),  # a step may be under way
            trained_tokens=self.totals.trained_tokens,
            memory=_memory(),
            **self.rates(),
        )
        if self.evaluations.due(state.global_step, state.max_steps):
            control.should_save |= self.evaluations.evaluate_or_defer(state.global_step)
            self._began = time.monotonic() - seconds  # evaluating is not training

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        self.context.emit(
            "train",
            step=state.global_step,
            epoch=round(state.epoch or 0.0, 3),
            loss=loss,
            smoothed=self.totals.note_loss(loss),
            grad_norm=float(logs.get("grad_norm", 0.0)),
            learning_rate=float(logs["learning_rate"]),
            memory=_memory(),
            **self.rates(),
            **self._others(logs),
        )

    def _others(self, logs: Mapping[str, Any]) -> dict[str, float]:
        """What the trainer logs beside the loss; the mean of no values is NaN and left out."""
        logged = ((name, logs.get(key)) for key, name in self.extra_metrics.items())
        return {name: float(value) for name, value in logged if value is not None and math.isfinite(value)}

    def rates(self) -> dict[str, float]:
        """Tokens per second over the whole run and, where the peak is known, the model FLOPs utilisation (MFU)."""
        rate = self.totals.tokens_per_second
        return {"tokens_per_second": rate} | (
            {"mfu": min(1.0, round(rate * self.mfu_per_token_rate, 4))} if self.mfu_per_token_rate else {}
        )


class RowProgress:
    """Emits `progress` in rows while data is prepared, once a second; ends between shards when told to save."""

    def __init__(self, context: TaskContext) -> None:
        self._context = context
        self._began = self._last = time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        raise_if_stop_requested(self._context)
        now = time.monotonic()
        if now - self._last < _SECOND:
            return
        self._last = now
        spent = now - self._began
        eta = round(spent / done * (total - done), 1) if total and done else None
        values = {"elapsed": round(spent, 1), "eta": eta}
        self._context.emit("progress", done=done, total=total, unit="rows", stage="data", **values)


def _memory() -> int:
    """Bytes this run holds: peak of allocated GPU memory, else resident memory of the process."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else psutil.Process().memory_info().rss
