"""Tuning methods, one file each: a `[method]` section with its knobs and the `TuningMethod` that reads it."""

from .base import Method, Situation, TuningMethod

__all__ = ["Method", "Situation", "TuningMethod"]
