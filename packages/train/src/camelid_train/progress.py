"""What the loop tells the world, and what the world tells the loop.

Knows the task context and the Trainer's callbacks. Computes nothing but rates.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import psutil
import torch
from camelid_core.errors import TrainingError
from camelid_core.tasks import Interrupted, Stop, TaskContext
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from .tally import Tally

_SECOND = 1.0


class Progress(TrainerCallback):
    """Emits `progress` each step (done, total, unit, elapsed, eta in seconds, tokens_per_second, memory in
    bytes), `train` with the loss and `eval` with the held-out loss; ends the loop when asked."""

    def __init__(
        self, context: TaskContext, tally: Tally, evaluate: Callable[[], float], eval_steps: int | None
    ) -> None:
        self.context = context
        self.tally = tally
        self.evaluate = evaluate
        self.eval_steps = eval_steps
        self.stopped: Stop = ""
        self.last_loss = math.nan
        self._began = 0.0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._began = time.monotonic() - self.tally.seconds

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        seconds = self.tally.seconds = time.monotonic() - self._began
        self.context.emit(
            "progress",
            done=state.global_step,
            total=state.max_steps,
            unit="steps",
            elapsed=round(seconds, 1),
            eta=round(seconds / state.global_step * (state.max_steps - state.global_step), 1),
            tokens_per_second=self.tally.tokens_per_second,
            memory=_memory(),
        )
        if self.eval_steps and state.global_step % self.eval_steps == 0 and state.global_step < state.max_steps:
            self.context.emit("eval", step=state.global_step, loss=self.evaluate())
            self._began = time.monotonic() - seconds  # measuring is not training
        self.stopped = self.context.stopping()
        if self.stopped:
            control.should_save = self.stopped == "save"
            control.should_training_stop = True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        if not logs or "loss" not in logs:
            return
        loss, norm = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise TrainingError(
                f"the loss became {loss} (gradient norm {norm}) at step {state.global_step}; the last checkpoint "
                f"is kept. Lower train.learning_rate (now {args.learning_rate:g}) and retry."
            )
        self.last_loss = loss
        self.context.emit(
            "train",
            step=state.global_step,
            epoch=round(state.epoch or 0.0, 3),
            loss=loss,
            grad_norm=norm,
            learning_rate=float(logs["learning_rate"]),
        )


class RowProgress:
    """Emits `progress` in rows while data is prepared, once a second; leaves between shards when asked to save."""

    def __init__(self, context: TaskContext) -> None:
        self._context = context
        self._began = self._last = time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        if self._context.stopping() == "save":
            raise Interrupted  # what is tokenised stays in the cache
        now = time.monotonic()
        if now - self._last < _SECOND:
            return
        self._last = now
        spent = now - self._began
        eta = round(spent / done * (total - done), 1) if total and done else None
        values = {"elapsed": round(spent, 1), "eta": eta}
        self._context.emit("progress", done=done, total=total, unit="rows", stage="data", **values)


def _memory() -> int:
    """Bytes this run holds: the most on the graphics card, else of the process."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else psutil.Process().memory_info().rss
