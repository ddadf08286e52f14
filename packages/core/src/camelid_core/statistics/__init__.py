"""Estimates with intervals and paired differences: what every number that judges a model is shown as."""

from .estimate import CONFIDENCE, Difference, Estimate, number_text, shown_values

__all__ = ["CONFIDENCE", "Difference", "Estimate", "number_text", "shown_values"]
