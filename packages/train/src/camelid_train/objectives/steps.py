"""From rows to optimizer steps. Knows how an objective divides an epoch; knows no model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from camelid_core.errors import DataError

from .registry import objective_of

if TYPE_CHECKING:
    from camelid_train.config import Recipe


def steps_of(recipe: Recipe, rows: int, processes: int) -> tuple[int, float, float]:
    """Optimizer steps of a run over `rows` rows on `processes` processes, its epochs, and how often it uses a row.

    Raises:
        DataError: too few rows for a step.
    """
    train = recipe.train
    batch = train.batch_size * train.accumulation * processes
    per_epoch, used_rows = objective_of(recipe.objective).one_epoch(recipe.objective, rows, batch)
    if not per_epoch:
        raise DataError(f"{rows} rows are too few for a step of {batch}. Lower train.batch_size, or add rows.")
    steps = train.max_steps or math.ceil(train.epochs * per_epoch)
    epochs = steps / per_epoch
    return steps, epochs, epochs * used_rows / rows
