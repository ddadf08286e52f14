"""The registry of objectives, filled through the hook: `[objective] type` → `LearningObjective`.

Knows no objective.
"""

from __future__ import annotations

from typing import Any

from camelid_core.plugins import load_host
from camelid_core.registry import Registry

from camelid_train.sections import Objective

from .learning_objective import LearningObjective


def objectives() -> Registry[LearningObjective[Any]]:
    """Every installed objective by name."""
    return load_host().registry("camelid_objectives")


def objective_of(section: Objective) -> LearningObjective[Any]:
    return objectives()[section.type]
