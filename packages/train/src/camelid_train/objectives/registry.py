"""From an `[objective]` section to the objective it means, through the hook.

Knows the registry of objectives, and which of our own plugins gives what. Knows no objective.
"""

from __future__ import annotations

from typing import Any

from camelid_core.plugins import load_host
from camelid_core.registry import Registry

from camelid_train import sections

from .base import LearningObjective, Objective

DEFAULT = "sft"
ELSEWHERE = dict.fromkeys(("dpo", "kto", "orpo", "grpo"), "camelid-trl")
"""Objectives that a distribution of ours gives, which may not be installed."""


def objectives() -> Registry[LearningObjective[Any]]:
    """Every installed objective by name."""
    return load_host().registry("camelid_objectives")


def objective_of(section: Objective) -> LearningObjective[Any]:
    return objectives()[section.type]


def read_section(value: Any) -> Objective:
    """The section that `value` means: its `type` says which class reads it.

    Raises:
        ValidationError: no such objective, or a knob that does not fit it.
    """
    return sections.read(value, Objective, objectives(), DEFAULT, ELSEWHERE)
