"""A listener in the training loop: it says when half of the steps are done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from camelid_train.monitoring.callbacks import LoopCallback

if TYPE_CHECKING:
    from camelid_core.tasks import TaskContext
    from camelid_train.config import Recipe
    from transformers import TrainerCallback


def _make(recipe: Recipe, context: TaskContext) -> TrainerCallback:
    from transformers import TrainerCallback  # heavy: only where a run begins

    class Halfway(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == state.max_steps // 2 and state.is_world_process_zero:
                context.emit("log", text=f"Half of the {state.max_steps} steps are done.")

    return Halfway()


HALFWAY = LoopCallback(name="halfway", help="Says when half of the steps are done.", make=_make)
