"""Extension points of training. Each returns a list of objects with a `name`; calls are pure and cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from camelid_core.hooks import hookspec

if TYPE_CHECKING:
    from .export.exporter import Exporter
    from .methods import TuningMethod
    from .monitoring.callbacks import LoopCallback
    from .objectives import LearningObjective
    from .objectives.rewards import Reward


@hookspec
def camelid_tuning_methods() -> list[TuningMethod[Any]]:
    """Tuning methods, such as LoRA: a name for `[method] type`, the section's class, and how a model is prepared."""


@hookspec
def camelid_objectives() -> list[LearningObjective[Any]]:
    """Training objectives, such as SFT or DPO: a name for `[objective] type`, the section's class, rows and trainer."""


@hookspec
def camelid_rewards() -> list[Reward]:
    """Rewards for `objective.reward` (GRPO): what an answer is worth against the row's own, by a verifiable rule."""


@hookspec
def camelid_exporters() -> list[Exporter[Any]]:
    """Exporters, such as GGUF: a name for `camelid export --to`, the section's class, an estimate, and the writer."""


@hookspec
def camelid_trainer_callbacks() -> list[LoopCallback]:
    """Trainer callbacks: a name and `make(recipe, context)`, which gives a transformers `TrainerCallback`."""
