"""Train's extension points. Each returns a list of objects with a `name`; calls are pure and cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from camelid_core.hooks import hookspec

if TYPE_CHECKING:
    from .methods import TuningMethod
    from .monitoring.callbacks import LoopCallback
    from .objectives import LearningObjective
    from .objectives.rewards import Reward


@hookspec
def camelid_tuning_methods() -> list[TuningMethod[Any]]:
    """Ways to fine-tune: a name for `[method] type`, the section's class, and how a model is made ready."""


@hookspec
def camelid_objectives() -> list[LearningObjective[Any]]:
    """Things to learn from: a name for `[objective] type`, the section's class, the rows it takes and its trainer."""


@hookspec
def camelid_rewards() -> list[Reward]:
    """What an answer is worth against the row's own, by a rule that can be checked: for `objective.reward`."""


@hookspec
def camelid_trainer_callbacks() -> list[LoopCallback]:
    """Listeners in the training loop: a name and `make(recipe, context)`, which gives a transformers callback."""
