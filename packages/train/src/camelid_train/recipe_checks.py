"""Validation of a recipe before there is a job: settings that do not go together, and trackers that are not installed.

Knows which parts have checks. Opens no data and no model, and imports no torch. What depends on the machine that the
job will run on (`launching.checks`), its data and its model is checked by the task.
"""

from __future__ import annotations

from .config import Recipe
from .monitoring import evaluation, trackers
from .objectives.registry import objective_of


def check(recipe: Recipe) -> None:
    """All checks that need no data; the task repeats them.

    Raises:
        ConfigError: naming the fields.
        MissingPackage: naming what to install.
    """
    check_settings(recipe)
    trackers.check_trackers(recipe.train.report_to)


def check_settings(recipe: Recipe) -> None:
    """Raise ConfigError if settings do not go together."""
    objective_of(recipe.objective).check(recipe.objective, recipe)
    evaluation.check_recipe(recipe)
