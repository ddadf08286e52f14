"""Objectives (what the loss rewards): an `[objective]` section with its hyperparameters and its `LearningObjective`."""

from camelid_train.sections import Objective

from .learning_objective import LearningObjective, TrainingRun

__all__ = ["LearningObjective", "Objective", "TrainingRun"]
