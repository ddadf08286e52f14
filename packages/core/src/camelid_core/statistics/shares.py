"""Intervals of shares of right answers, and of paired differences of two such shares.

A share of independent items has Wilson's score interval (Brown, Cai and DasGupta 2001, Interval Estimation for a
Binomial Proportion). Where items are clustered or asked of several seeds the same formula takes the effective number of
items, p(1-p)/variance, and Student's t (Dean and Pagano 2015, Evaluating Confidence Interval Methods for Binomial
Proportions in Clustered Surveys). A paired difference has Bonett and Price's adjusted interval (2012), as Fagerland,
Lydersen and Laake 2014 recommend, and McNemar's exact test. None of them shrinks to nothing where all answers are
right, as a standard error does. Knows counts and arrays of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def score_interval(share: Any, items: Any, quantile: Any) -> tuple[Any, Any]:
    """Wilson's interval of a share of so many (effective) items."""
    share, items, squared = np.asarray(share), np.asarray(items), np.asarray(quantile) ** 2
    centre = (share + squared / (2 * items)) / (1 + squared / items)
    inside = share * (1 - share) / items + squared / (4 * items**2)
    arm = np.sqrt(squared * np.maximum(inside, 0)) / (1 + squared / items)
    return np.clip(centre - arm, 0, 1), np.clip(centre + arm, 0, 1)


def effective_items(share: Any, variance: Any, groups: Any) -> Any:
    """How many independent items would give a share with this variance; `groups` where there is no variance at all."""
    spread = np.asarray(share) * (1 - np.asarray(share))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = spread / np.asarray(variance)
    return np.where((spread > 0) & (np.asarray(variance) > 0), found, groups)


def paired_interval(gained: Any, lost: Any, items: Any, quantile: Any) -> tuple[Any, Any]:
    """Bonett and Price's interval of a difference of shares: of `items` pairs, `gained` are right in the first alone
    and `lost` in the second alone."""
    total = np.asarray(items) + 2
    one, other = (np.asarray(gained) + 1) / total, (np.asarray(lost) + 1) / total
    arm = quantile * np.sqrt((one + other - (one - other) ** 2) / total)
    return np.clip(one - other - arm, -1, 1), np.clip(one - other + arm, -1, 1)


def exact_p(gained: int, lost: int) -> float:
    """McNemar's exact test: whether a pair that differs is as likely to favour the one as the other."""
    from scipy.stats import binomtest

    return 1.0 if gained + lost == 0 else float(binomtest(gained, gained + lost).pvalue)
