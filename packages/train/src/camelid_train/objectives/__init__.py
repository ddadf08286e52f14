"""What a run learns from: an `[objective]` section with its knobs and the `LearningObjective` that reads it."""

from .base import LearningObjective, Objective, Run

__all__ = ["LearningObjective", "Objective", "Run"]
