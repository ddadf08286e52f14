"""An interval that says 95 % holds the truth in 93 to 97 of a hundred simulated tables, whatever the items share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from camelid_core.statistics.cluster_sums import critical, mean_of_clusters
from camelid_core.statistics.power import rows_for_shares, rows_needed
from camelid_core.statistics.scores import difference_moments, interval_of, moments_of
from camelid_core.statistics.shares import paired_interval, score_interval
from scipy.stats import norm

TABLES = 2000
NORMAL = critical(np.inf)


def covered(low: Any, high: Any, truth: float) -> float:
    return float(((low <= truth) & (truth <= high)).mean())


def clusters(numbers: Any, groups: int, most: int = 12) -> Any:
    """Items of clusters of unequal sizes."""
    return np.repeat(np.arange(groups), numbers.integers(1, most, groups))


def clustered(numbers: Any, index: Any, shared: float) -> Any:
    """Standard normal scores, of whose variance this share is the cluster's."""
    groups = int(index[-1]) + 1
    of_cluster = numbers.normal(size=(TABLES, groups))[:, index]
    return of_cluster * shared**0.5 + numbers.normal(size=(TABLES, len(index))) * (1 - shared) ** 0.5


@pytest.mark.parametrize(("items", "share"), [(40, 0.575), (100, 0.3), (200, 0.9)])
def test_shares_of_independent_items(items: int, share: float):
    right = (np.random.default_rng(items).random((TABLES, items)) < share).mean(-1)
    assert 0.93 <= covered(*score_interval(right, items, NORMAL), share) <= 0.97


@pytest.mark.parametrize("groups", [8, 30])
@pytest.mark.parametrize("shared", [0.0, 0.3, 0.7])
def test_clustered_means_and_shares(groups: int, shared: float):
    numbers = np.random.default_rng(groups)
    index = clusters(numbers, groups)
    scores = clustered(numbers, index, shared)
    assert 0.93 <= covered(*interval_of(moments_of(scores[:, None], index), False, groups), 0) <= 0.97
    right = (scores > -0.5).astype(float)
    assert 0.93 <= covered(*interval_of(moments_of(right[:, None], index), True, groups), norm.cdf(0.5)) <= 0.97


def test_an_interval_that_does_not_know_of_clusters_covers_too_little():
    """The control: with clusters of six alike items it would say 95 % and hold the truth far less often."""
    numbers = np.random.default_rng(1)
    index = np.repeat(np.arange(20), 6)
    scores = clustered(numbers, index, 0.7)
    assert covered(*interval_of(moments_of(scores[:, None], np.arange(len(index))), False, len(index)), 0) < 0.8


@pytest.mark.parametrize(("items", "gained", "lost"), [(40, 0.15, 0.1), (100, 0.1, 0.05), (300, 0.05, 0.02)])
def test_paired_differences_of_shares(items: int, gained: float, lost: float):
    drawn = np.random.default_rng(items).random((TABLES, items))
    ours, theirs = (drawn < gained).sum(-1), ((drawn >= gained) & (drawn < gained + lost)).sum(-1)
    assert 0.93 <= covered(*paired_interval(ours, theirs, items, NORMAL), gained - lost) <= 0.97


@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_paired_differences_of_clustered_items(shared: float):
    numbers = np.random.default_rng(7)
    index = clusters(numbers, 25)
    easy = 3 * clustered(numbers, index, 0.5)  # what both models find easy; a paired difference does not know of it
    first = easy + 0.2 + clustered(numbers, index, shared)
    moments = difference_moments(first[:, None], easy[:, None], index)
    assert 0.93 <= covered(*interval_of(moments, False, 25), 0.2) <= 0.97
    unpaired = 2 * (moments_of(easy[:, None], index).variance).mean()
    assert float(np.mean(moments.variance)) < unpaired / 5


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spread", [0.0, 0.1, 0.3, 1.0])
def test_seeds_are_a_level_of_their_own(seeds: int, spread: float):
    """Three seeds that do not differ at all cannot show it: their interval is somewhat wider than it need be."""
    most = 0.98 if spread == 0 else 0.97
    numbers = np.random.default_rng(seeds)
    index = np.repeat(np.arange(40), 3)
    items = 0.4 * numbers.normal(size=(TABLES, 1, 40))[:, :, index] + 0.5 * numbers.normal(size=(TABLES, 1, 120))

    def arm(truth: float) -> Any:
        of_seed = spread * numbers.normal(size=(TABLES, seeds, 1))
        return truth + items + of_seed + 0.6 * numbers.normal(size=(TABLES, seeds, 120))

    first, second = arm(0.1), arm(0.0)
    assert 0.93 <= covered(*interval_of(moments_of(first, index), False, 40), 0.1) <= most
    assert 0.93 <= covered(*interval_of(difference_moments(first, second, index), False, 40), 0.1) <= most


def test_rows_needed_see_the_difference_in_eight_of_ten_tables():
    numbers = np.random.default_rng(3)
    rows = rows_needed(variance=2.0, difference=0.25)
    assert rows is not None
    found = mean_of_clusters(0.25 + 2**0.5 * numbers.normal(size=(TABLES, rows)), np.ones(rows))
    seen = np.abs(found.mean) > critical(found.degrees) * np.sqrt(found.variance)
    assert 0.77 <= seen.mean() <= 0.83
    assert rows_for_shares(0.1, 0.3) == rows_needed(0.29, 0.1)
    assert rows_for_shares(0.1, 0.05) is None  # models that differ on 5 % of the items cannot be 10 % apart
    assert rows_needed(1.0, 0.0) is None
    assert rows_needed(0.0, 1.0) is None
