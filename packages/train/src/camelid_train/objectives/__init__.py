"""What a run learns from: an `[objective]` section with its knobs and the `LearningObjective` that reads it."""

from camelid_train.sections import Objective

from .learning_objective import LearningObjective, TrainingRun

__all__ = ["LearningObjective", "Objective", "TrainingRun"]
