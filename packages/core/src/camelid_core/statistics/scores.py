"""Scores of models on items → estimates and paired differences.

Items are by id, so that two models are compared on what both answered. A cluster is what items share (a passage, a
source); a seed is one trained model of several that differ by chance alone, and a level of its own: items and seeds are
crossed random effects, whose variances add up as
    variance = V_items + max(0, V_seeds - V_cells)
(Searle, Casella and McCulloch 1992, Variance Components; for clusters in two directions Cameron, Gelbach and Miller
2011), and the squares of whose intervals' arms, each with Student's t of its own degrees, add up too (Graybill and Wang
1980): with three seeds, Satterthwaite's degrees cover too little. One seed says nothing about others: its interval is
over items alone. Knows numbers and ids. Knows nothing of tasks or models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from camelid_core.errors import UsageError

from .cluster_sums import Moments, Numbers, cluster_index, critical, mean_of_clusters, sums_by_cluster, two_sided_p
from .estimate import Difference, Estimate
from .power import rows_needed
from .shares import effective_items, exact_p, paired_interval, score_interval


@dataclass(frozen=True)
class Scores:
    """`values` has a row for each seed and a column for each of `ids`; `clusters` a label for each item, where an item
    by itself has a label of its own; `share` says that they are shown in per cent."""

    ids: tuple[str, ...]
    values: Numbers
    clusters: tuple[str, ...]
    share: bool = False

    @classmethod
    def of(
        cls,
        scores: Mapping[str, float | Sequence[float]],
        clusters: Mapping[str, str] | None = None,
        share: bool = False,
    ) -> Scores:
        """From each item's score, or its score with each seed. Items without a cluster stand by themselves.

        Raises:
            UsageError: an item twice the seeds of another, or no item.
        """
        ids = tuple(scores)
        rows = [each if isinstance(each, Sequence) else (each,) for each in scores.values()]
        if not ids or any(len(row) != len(rows[0]) for row in rows):
            raise UsageError("scores need at least one item, and each item a score of every seed.")
        labels = tuple((clusters or {}).get(each, "") or f"\0{each}" for each in ids)  # no cluster's name begins so
        return cls(ids, np.array(rows, np.float64).T, labels, share)

    @property
    def binary(self) -> bool:
        return bool(np.isin(self.values, (0.0, 1.0)).all())

    def only(self, ids: Sequence[str]) -> Scores:
        at = {each: number for number, each in enumerate(self.ids)}
        chosen = [at[each] for each in ids]
        labels = tuple(self.clusters[number] for number in chosen)
        return Scores(tuple(ids), self.values[:, chosen], labels, self.share)


def estimate(scores: Scores) -> Estimate:
    """The mean over items and seeds, with its interval."""
    index = cluster_index(scores.clusters)
    groups, (seeds, items) = int(index.max()) + 1, scores.values.shape
    about = {"n": items, "clusters": None if groups == items else groups, "seeds": seeds, "share": scores.share}
    mean = float(scores.values.mean())
    alone = groups == items and seeds == 1
    if scores.binary and (alone or groups == 1):
        low, high = score_interval(mean, groups, critical(np.inf))
    elif groups == 1:
        return Estimate(mean, None, None, **about)
    else:
        low, high = interval_of(moments_of(scores.values, index), scores.binary, groups)
    return Estimate(mean, float(low), float(high), **about)


def estimate_of_sums(sums: Sequence[float], counts: Sequence[int], share: bool = False) -> Estimate:
    """The mean per item where only the sum and the number of items of each cluster are known: a loss per token of
    texts. Student's interval.

    Raises:
        ValueError: fewer than two clusters.
    """
    found = mean_of_clusters(sums, counts)
    low, high = interval_of(found, False, len(counts))
    return Estimate(float(found.mean), float(low), float(high), sum(counts), len(counts), share=share)


def difference_of_sums(first: Sequence[float], second: Sequence[float], counts: Sequence[int]) -> Difference:
    """The paired difference of two such means over the same items.

    Raises:
        ValueError: fewer than two clusters.
    """
    found = mean_of_clusters(np.subtract(first, second), counts)
    low, high = interval_of(found, False, len(counts))
    more = rows_needed(float(found.variance) * len(counts), abs(float(found.mean)))
    ends = float(found.mean), float(low), float(high)
    return Difference(*ends, sum(counts), len(counts), p=float(two_sided_p(found)), rows_needed=more)


def interval_of(moments: Moments, binary: bool, groups: int) -> tuple[Any, Any]:
    """The 95 % interval of a mean; of a share by the score formula, which never leaves 0 to 1."""
    quantile = critical(moments.degrees)
    if binary:
        items = effective_items(moments.mean, moments.variance, groups)
        return score_interval(moments.mean, items, quantile)
    arm = quantile * np.sqrt(moments.variance)
    return moments.mean - arm, moments.mean + arm


def difference(first: Scores, second: Scores) -> Difference:
    """`first` minus `second`, paired on the items that both have.

    Raises:
        UsageError: they have no item in common.
    """
    known = set(second.ids)
    common = [each for each in first.ids if each in known]
    if not common:
        raise UsageError("the two have no item in common, so there is no paired difference; score both on the same.")
    one, two = first.only(common), second.only(common)
    index = cluster_index(one.clusters)
    groups, items, share = int(index.max()) + 1, len(common), one.share and two.share
    seeds = min(len(one.values), len(two.values))
    mean = float(one.values.mean() - two.values.mean())
    about: dict[str, Any] = {"n": items, "clusters": None if groups == items else groups, "seeds": seeds}
    about["share"] = share
    binary = one.binary and two.binary and len(one.values) == len(two.values) == 1
    gained, lost = (int(((one.values.mean(0) - two.values.mean(0)) * sign > 0).sum()) for sign in (1, -1))
    if groups == 1:
        return Difference(mean, None, None, **about)
    moments = difference_moments(one.values, two.values, index)
    more = rows_needed(float(moments.variance) * items, abs(mean))
    if binary and (groups == items or not moments.variance):
        # Where all clusters say the same, each is one observation.
        ours, theirs = gained * groups / items, lost * groups / items
        low, high = paired_interval(ours, theirs, groups, critical(np.inf))
        p = exact_p(round(ours), round(theirs))
    else:
        arm = critical(moments.degrees) * np.sqrt(moments.variance)
        low, high, p = mean - arm, mean + arm, float(two_sided_p(moments))
    return Difference(mean, float(low), float(high), **about, p=p, rows_needed=more)


def moments_of(values: Numbers, index: Any) -> Moments:
    """Of values [… seeds, items]."""
    return _with_seeds(values.mean(-2), [values], index)


def difference_moments(first: Numbers, second: Numbers, index: Any) -> Moments:
    """Of the paired difference; each model's seeds are its own."""
    return _with_seeds(first.mean(-2) - second.mean(-2), [first, second], index)


def _with_seeds(items: Numbers, parts: Sequence[Numbers], index: Any) -> Moments:
    sizes = np.bincount(index).astype(np.float64)
    over_items = mean_of_clusters(sums_by_cluster(items, index), sizes)
    levels = [_seed_level(values, index, sizes) for values in parts if values.shape[-2] > 1]
    if not levels:
        return over_items
    seeds, cells = (sum(each) for each in zip(*levels, strict=True))
    added, degrees = np.maximum(seeds - cells, 0), sum(values.shape[-2] - 1 for values in parts)
    return _both_levels(over_items, added, degrees)


def _both_levels(over_items: Moments, added: Any, degrees: int) -> Moments:
    """With what seeds add to the variance. The degrees are those at which Student's interval has the joint arm."""
    from scipy.special import stdtridf

    from .estimate import CONFIDENCE

    variance = over_items.variance + added
    arm = np.sqrt(critical(over_items.degrees) ** 2 * over_items.variance + critical(degrees) ** 2 * added)
    there = (added > 0) & (variance > 0)
    ratio = np.divide(arm, np.sqrt(variance), out=np.full_like(arm, 2.0), where=there)
    joint = stdtridf((1 + CONFIDENCE) / 2, ratio)
    return Moments(over_items.mean, variance, np.where(there, joint, over_items.degrees))


def _seed_level(values: Numbers, index: Any, sizes: Numbers) -> tuple[Any, Any]:
    """V_seeds and V_cells."""
    seeds, items, groups = values.shape[-2], values.shape[-1], len(sizes)
    by_seed = values.mean(-1)
    over_seeds = by_seed.var(-1, ddof=1) / seeds
    rest = values - by_seed[..., None] - values.mean(-2, keepdims=True) + values.mean((-2, -1), keepdims=True)
    scale = seeds / (seeds - 1) * groups / (groups - 1)
    cells = scale * (sums_by_cluster(rest, index) ** 2).sum((-2, -1)) / (seeds * items) ** 2
    return over_seeds, cells
