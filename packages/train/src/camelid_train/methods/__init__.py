"""Tuning methods, one file each: a `[method]` section with its hyperparameters and the `TuningMethod` that reads it."""

from camelid_train.sections import Method

from .tuning_method import MethodContext, TuningMethod

__all__ = ["Method", "MethodContext", "TuningMethod"]
