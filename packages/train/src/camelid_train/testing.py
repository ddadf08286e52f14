"""Test helpers for authors of tuning methods, objectives and exporters: their contracts, small recipes, and attempts
without a worker. Not imported by the product."""

from __future__ import annotations

from .plugin_kit.attempt_record import Attempt, AttemptRecord, attempts, small_recipe, tuned_and_merged
from .plugin_kit.exporter_contract import assert_exporter_contract
from .plugin_kit.method_contract import assert_method_contract
from .plugin_kit.objective_contract import assert_objective_contract

__all__ = [
    "Attempt",
    "AttemptRecord",
    "assert_exporter_contract",
    "assert_method_contract",
    "assert_objective_contract",
    "attempts",
    "small_recipe",
    "tuned_and_merged",
]
