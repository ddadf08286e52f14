"""The objectives that this plugin adds: DPO, KTO, ORPO and GRPO, through trl, which is imported when one runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from camelid_core import hookimpl

if TYPE_CHECKING:
    from camelid_train.objectives import LearningObjective

CAMELID_API = 1


@hookimpl
def camelid_objectives() -> list[LearningObjective[Any]]:
    from .dpo import DPO
    from .grpo import GRPO
    from .kto import KTO
    from .orpo import ORPO

    return [DPO, KTO, ORPO, GRPO]
