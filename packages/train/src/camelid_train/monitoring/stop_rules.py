"""When the loop ends before its last step: on request, or because the training loss is low enough.

Knows requests, the run's totals and the Trainer's callbacks. Early stopping on the held-out loss is decided in
`evaluation`, for a NaN loss in `nan_guard`; here the loop is ended.
"""

from __future__ import annotations

from typing import Any

from camelid_core.tasks import Interrupted, StopRequest, TaskContext
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from camelid_train.saving.run_totals import RunTotals


def raise_if_stop_requested(context: TaskContext) -> None:
    """Raise Interrupted on a request to save and end, where there is no state to save: work is repeated, or cached."""
    if context.stop_requested() == "save":
        raise Interrupted


class StopRules(TrainerCallback):
    """Ends the loop; comes after the callbacks that report and evaluate. Emits `stop`: reason, text.

    Every end but a request to finish writes a checkpoint that records it: if publishing is killed, the resumed run
    trains no further.
    """

    def __init__(self, context: TaskContext, totals: RunTotals, stop_at_loss: float | None = None) -> None:
        self.context = context
        self.totals = totals
        self.stop_at_loss = stop_at_loss
        self.request: StopRequest = ""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.request = self.context.stop_requested()
        if self.totals.stopped or self.request == "save":
            control.should_save = control.should_training_stop = True
        elif self.request == "finish":
            self.totals.stopped = "asked"
            control.should_training_stop = True
            control.should_save = False
        left = "a run with DeepSpeed keeps no state and begins anew" if args.deepspeed else "its state is saved now"
        texts = {
            "save": f"Asked to leave after step {state.global_step}: {left}.",
            "finish": f"Asked to finish: what was learnt up to step {state.global_step} is the result.",
        }
        if self.request:
            self.context.emit("stop", reason="asked", text=texts[self.request])

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        smoothed = self.totals.smoothed
        if self.stop_at_loss is None or not logs or "loss" not in logs or smoothed is None:
            return
        over = self.totals.stopped or self.request or state.global_step >= state.max_steps
        if over or smoothed > self.stop_at_loss:
            return
        self.totals.stopped = "loss"
        control.should_save = control.should_training_stop = True
        text = (
            f"The smoothed training loss is {smoothed:.4g}: the run stops at step {state.global_step}, as "
            f"train.stop_at_loss={self.stop_at_loss:g} says."
        )
        self.context.emit("stop", reason="loss", text=text)
