"""A mean and its variance from sums of clusters of dependent items: the one place where a spread is computed.

Items of one cluster (tokens of a text, questions on a passage) are not independent, so that the variance comes from
whole clusters. It is the bias-reduced estimator CR2, with Satterthwaite's degrees of freedom, of the regression on a
constant (Bell and McCaffrey 2002; Imbens and Kolesár 2016, Robust Standard Errors in Small Samples): with w_g the share
of cluster g in all items, S_g its sum, n_g its size, N the items and m the mean,
    variance = Σ (S_g - n_g·m)² / (1 - w_g) / N²
    degrees = 1 / (Σ w_g² + Σ_{g≠h} w_g² w_h² / ((1 - w_g)(1 - w_h)))
Where every cluster has one item this is s²/n with n - 1 degrees: Student's interval.
All functions take arrays whose last axis is the cluster. Knows numbers only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moments:
    """A mean, the variance of that mean, and the degrees of freedom of the variance."""

    mean: Any
    variance: Any
    degrees: Any


def mean_of_clusters(sums: ArrayLike, counts: ArrayLike) -> Moments:
    """From the sum and the number of items of each cluster.

    Raises:
        ValueError: fewer than two clusters, which tell no spread.
    """
    totals, sizes = np.asarray(sums, np.float64), np.asarray(counts, np.float64)
    if sizes.shape[-1] < 2:
        raise ValueError("a spread takes two clusters or more")
    items = sizes.sum(-1, keepdims=True)
    mean = totals.sum(-1, keepdims=True) / items
    weights = sizes / items
    variance = ((totals - sizes * mean) ** 2 / (1 - weights)).sum(-1) / items[..., 0] ** 2
    ratios = weights**2 / (1 - weights)
    others = ratios.sum(-1) ** 2 - (ratios**2).sum(-1)  # the sum over all pairs of different clusters
    return Moments(mean[..., 0], variance, 1 / ((weights**2).sum(-1) + others))


def cluster_index(labels: Sequence[Any]) -> NDArray[np.intp]:
    """Labels → whole numbers from 0, equal where the labels are."""
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], np.intp)


def sums_by_cluster(values: Numbers, index: NDArray[np.intp]) -> Numbers:
    """Sums over the last axis, by cluster."""
    order = np.argsort(index, kind="stable")
    starts = np.flatnonzero(np.diff(index[order], prepend=-1))
    found: Numbers = np.add.reduceat(values[..., order], starts, axis=-1)
    return found


def critical(degrees: Any) -> Any:
    """What a standard error is multiplied with for a 95 % interval: Student's t, at infinity the normal's."""
    from scipy.special import ndtri, stdtrit

    from .estimate import CONFIDENCE

    at = (1 + CONFIDENCE) / 2
    return np.where(np.isinf(degrees), ndtri(at), stdtrit(np.where(np.isinf(degrees), 1, degrees), at))


def two_sided_p(moments: Moments) -> Any:
    """Of Student's test that the mean is zero; 1 where the mean is zero without a spread, 0 where it is not."""
    from scipy.special import stdtr

    spread = np.sqrt(moments.variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(moments.mean) / spread
    return np.where(spread > 0, 2 * stdtr(moments.degrees, -t), np.where(np.asarray(moments.mean) == 0, 1.0, 0.0))
