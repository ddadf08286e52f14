"""How many items show a difference: the size of an evaluation before it is run, or of the next one.

Knows the normal approximation of a two-sided paired test at 5 % (Miller 2024, Adding Error Bars to Evals,
arXiv:2411.00640, section 5). Knows nothing of where a spread comes from.
"""

from __future__ import annotations

import math

from .estimate import CONFIDENCE

POWER = 0.8
"""How often a difference that is there is to be seen."""


def rows_needed(variance: float, difference: float, power: float = POWER) -> int | None:
    """Items that show `difference` with this power; `variance` is that of one item's paired difference, which includes
    what its cluster adds. None where there is no difference, or no spread to tell from."""
    from scipy.special import ndtri

    if difference <= 0 or variance <= 0:
        return None
    sizes = ndtri((1 + CONFIDENCE) / 2) + ndtri(power)
    return math.ceil(variance * float(sizes) ** 2 / difference**2)


def rows_for_shares(difference: float, discordant: float, power: float = POWER) -> int | None:
    """The same before anything is measured: `discordant` is the share of items on which two models are expected to
    differ, and `difference` that of their shares of right answers, which is no larger: None otherwise."""
    if abs(difference) > discordant:
        return None
    return rows_needed(discordant - difference**2, abs(difference), power)
