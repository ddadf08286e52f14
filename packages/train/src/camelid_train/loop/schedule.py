"""The learning rate over the steps: Transformers' schedules, with a warm-up that starts above zero.

Transformers' warm-up gives step 1 a learning rate of 0, so a run of one step would learn nothing. Here the rates of
w warm-up steps are 1/(w+1), 2/(w+1) and so on, and w is less than the steps of the run. Knows no recipe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainingArguments, get_scheduler


class ScheduleMixin:
    """Trainer mixin: the schedule of `args`, with a first step that learns."""

    args: TrainingArguments
    optimizer: Any
    lr_scheduler: Any

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The learning-rate scheduler, made once. `optimizer` is the trainer's own where none is given."""
        if self.lr_scheduler is None:
            warmup = min(self.args.get_warmup_steps(num_training_steps), max(num_training_steps - 1, 0))
            scheduler = get_scheduler(
                self.args.lr_scheduler_type,
                optimizer=self.optimizer if optimizer is None else optimizer,
                num_warmup_steps=warmup,
                num_training_steps=num_training_steps,
            )
            self.lr_scheduler = _start_above_zero(scheduler, warmup)
            self._created_lr_scheduler = True  # as Trainer's own: nothing else may make one
        return self.lr_scheduler


def _start_above_zero(scheduler: Any, warmup: int) -> Any:
    scheduler.lr_lambdas = [_raised(share, warmup) for share in scheduler.lr_lambdas]
    scheduler._last_lr = [rate * share(0) for rate, share in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)]
    for group, rate in zip(scheduler.optimizer.param_groups, scheduler._last_lr, strict=True):
        group["lr"] = rate
    return scheduler


def _raised(share: Callable[[int], float], warmup: int) -> Callable[[int], float]:
    """`share` of the peak rate by step, from 0; not below the ramp while warming up."""
    return lambda step: max(share(step), (step + 1) / (warmup + 1)) if step < warmup else share(step)
