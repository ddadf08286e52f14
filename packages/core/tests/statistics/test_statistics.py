"""Estimates and paired differences are those of the textbooks: compared with scipy's own and with plain definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from camelid_core.errors import UsageError
from camelid_core.statistics import Difference, Estimate, number_text
from camelid_core.statistics.cluster_sums import mean_of_clusters
from camelid_core.statistics.holm import corrected, holm
from camelid_core.statistics.pass_at_k import pass_at_k
from camelid_core.statistics.scores import Scores, difference, estimate
from camelid_core.statistics.streamed_scores import ScoreSums
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

NUMBERS = st.lists(st.integers(-1000, 1000).map(lambda n: n / 8), min_size=2, max_size=30)
RIGHT = st.lists(st.booleans(), min_size=2, max_size=40)


def scores(values: list[float], share: bool = False, labels: list[str] | None = None) -> Scores:
    names = [f"item-{number}" for number in range(len(values))]
    return Scores.of(dict(zip(names, values, strict=True)), dict(zip(names, labels or [], strict=False)), share)


@given(NUMBERS)
@settings(deadline=None)
def test_a_mean_of_independent_items_has_students_interval(values: list[float]):
    found = estimate(scores(values))
    assert found.mean == pytest.approx(np.mean(values))
    if np.std(values) == 0 or set(values) <= {0.0, 1.0}:
        return
    wanted = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    sums = ScoreSums()
    for value in values:
        sums.add(value)
    streamed = sums.estimate(share=False)
    if not set(values) <= {-1.0, 0.0, 1.0}:
        assert (streamed.low, streamed.high) == pytest.approx((found.low, found.high))


@given(RIGHT)
@settings(deadline=None)
def test_a_share_of_independent_items_has_wilsons_interval(right: list[bool]):
    found = estimate(scores([float(each) for each in right], share=True))
    wanted = stats.binomtest(sum(right), len(right)).proportion_ci(0.95, "wilson")
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)
    sums = ScoreSums()
    for each in right:
        sums.add(float(each))
    assert sums.estimate() == found
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low > 0.05  # never nothing, not even where all are right


@given(st.lists(st.tuples(st.integers(-99, 99), st.integers(-99, 99)), min_size=3, max_size=20))
@settings(deadline=None)
def test_a_paired_difference_is_students_paired_test(pairs: list[tuple[int, int]]):
    first, second = ([float(pair[at]) for pair in pairs] for at in (0, 1))
    gaps = {one - two for one, two in pairs}
    if len(gaps) == 1 or set(first) | set(second) <= {0.0, 1.0}:
        return
    found = difference(scores(first), scores(second))
    wanted = stats.ttest_rel(first, second)
    assert found.p == pytest.approx(wanted.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(wanted.confidence_interval(0.95)))
    turned = difference(scores(second), scores(first))
    assert (turned.mean, turned.low, turned.high, turned.p) == pytest.approx(
        (-found.mean, -found.high, -found.low, found.p)  # type: ignore[operator]
    )


@given(RIGHT, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_a_paired_difference_of_right_answers_is_mcnemars_exact_test(right: list[bool], random):
    other = [each if random.random() < 0.7 else not each for each in right]
    first, second = ([float(each) for each in values] for values in (right, other))
    found = difference(scores(first, True), scores(second, True))
    gained, lost = sum(a > b for a, b in zip(first, second, strict=True)), sum(map(float.__lt__, first, second))
    assert found.p == pytest.approx(stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0)
    assert found.mean == pytest.approx((gained - lost) / len(right))
    assert found.low < found.mean + 1e-12
    assert found.mean < found.high + 1e-12
    sums = ScoreSums()
    for one, two in zip(first, second, strict=True):
        sums.add(one - two)
    streamed = sums.difference()
    assert (streamed.mean, streamed.low, streamed.high, streamed.p) == pytest.approx(
        (found.mean, found.low, found.high, found.p)
    )


def test_clustered_variance_is_that_of_its_definition():
    """CR2 and its degrees of freedom from whole matrices, as Imbens and Kolesár write them."""
    numbers = np.random.default_rng(5)
    sizes = np.array([1, 3, 7, 2, 4])
    index, total = np.repeat(np.arange(5), sizes), sizes.sum()
    values = numbers.normal(size=total) + index
    hat = np.full((total, total), 1 / total)
    rest = values - values.mean()
    variance, columns = 0.0, []
    for group in range(5):
        own = index == group
        block = np.eye(own.sum()) - hat[np.ix_(own, own)]
        worth, vectors = np.linalg.eigh(block)
        root = vectors @ np.diag(worth**-0.5) @ vectors.T
        weighted = root @ np.ones(own.sum()) / total
        variance += float(weighted @ rest[own]) ** 2
        columns.append((np.eye(total) - hat)[:, own] @ weighted)
    worths = np.linalg.eigvalsh(np.array(columns) @ np.array(columns).T)
    found = mean_of_clusters([values[index == group].sum() for group in range(5)], sizes)
    assert found.variance == pytest.approx(variance)
    assert found.degrees == pytest.approx(worths.sum() ** 2 / (worths**2).sum())


def test_clusters_widen_an_interval_and_are_told():
    values = [0.0] * 10 + [1.0] * 10
    alone, together = estimate(scores(values, True)), estimate(scores(values, True, ["a"] * 10 + ["b"] * 10))
    assert together.clusters == 2
    assert (together.low, together.high) != (alone.low, alone.high)
    assert together.high - together.low > 1.5 * (alone.high - alone.low)  # type: ignore[operator]
    assert str(together).endswith("(n 20 in 2 clusters)")


def test_one_cluster_tells_no_spread():
    """A share of one cluster is one observation; a mean has no interval at all, and says so by having none."""
    one = estimate(scores([0.0, 1.0, 1.0], True, ["a", "a", "a"]))
    assert (one.low, one.high) == pytest.approx(tuple(stats.binomtest(1, 1).proportion_ci(method="wilson")), abs=0.4)
    assert estimate(scores([3.5])).low is None
    assert str(estimate(scores([3.5]))) == "3.5 (n 1, no interval)"
    assert difference(scores([3.5]), scores([3.0])).p is None


def test_models_that_answer_alike_are_not_told_apart_with_certainty():
    same = difference(scores([1.0] * 20, True), scores([1.0] * 20, True))
    assert same.mean == 0
    assert same.p == 1
    assert same.low < -0.05  # type: ignore[operator]
    assert same.verdict() == "undecided"
    labels = ["a"] * 5 + ["b"] * 5 + ["c"] * 5
    always = difference(scores([1.0] * 15, True, labels), scores([0.0] * 15, True, labels))
    assert (always.mean, always.clusters) == (1, 3)
    assert always.low < 0.8  # type: ignore[operator]
    assert always.verdict() == "undecided"  # three passages that agree


def test_pairs_are_made_by_id_and_only_of_items_that_both_have():
    first = Scores.of({"a": 1.0, "b": 0.0, "c": 1.0, "x": 0.0}, share=True)
    second = Scores.of({"c": 0.0, "b": 0.0, "a": 1.0, "y": 1.0}, share=True)
    found = difference(first, second)
    assert (found.n, found.mean) == (3, pytest.approx(1 / 3))
    with pytest.raises(UsageError, match="no item in common"):
        difference(first, Scores.of({"z": 1.0}))
    with pytest.raises(UsageError, match="at least one item"):
        Scores.of({})


def test_seeds_that_differ_widen_an_interval():
    items = {f"item-{number}": (float(number % 2), float(number % 3 == 0), 1.0) for number in range(60)}
    found = estimate(Scores.of(items, share=True))
    pooled = estimate(Scores.of({name: math.fsum(row) / 3 for name, row in items.items()}, share=True))
    assert (found.n, found.seeds) == (60, 3)
    assert str(found).endswith("(n 60 × 3 seeds)")
    assert found.high - found.low > 3 * (pooled.high - pooled.low)  # type: ignore[operator]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_its_definition(values: list[float]):
    """A hypothesis is rejected at a level exactly where all smaller p values are rejected too, each at its own part."""
    found = holm(values)
    order = sorted(values)
    for value, after in zip(values, found, strict=True):
        rank = max(number for number, each in enumerate(order) if each == value)
        bounds = [min(1.0, (len(order) - number) * each) for number, each in enumerate(order[: rank + 1])]
        assert max(bounds[: order.index(value) + 1]) <= after + 1e-12 <= max(bounds) + 2e-12
    assert all(after >= value for value, after in zip(values, found, strict=True))


def test_holm_over_a_table_leaves_out_what_has_no_p():
    table = [Difference(1, 0, 2, 9, p=0.01), Difference(1, None, None, 1), Difference(1, 0, 2, 9, p=0.04)]
    assert [each.p_holm for each in corrected(table)] == [0.02, None, 0.04]
    assert holm([0.01, 0.02, 0.03]) == pytest.approx([0.03, 0.04, 0.04])  # as R's p.adjust has it


@given(st.integers(1, 7), st.data())
def test_pass_at_k_is_the_share_of_all_choices_that_hold_a_right_one(answers: int, data):
    right, k = data.draw(st.integers(0, answers)), data.draw(st.integers(1, answers))
    choices = list(itertools.combinations([True] * right + [False] * (answers - right), k))
    assert pass_at_k(answers, right, k) == pytest.approx(sum(map(any, choices)) / len(choices))


def test_pass_at_k_needs_k_answers():
    with pytest.raises(UsageError, match="pass@10 takes 10 answers or more"):
        pass_at_k(5, 2, 10)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Estimate(0.575, 0.422, 0.715, 40, share=True), "57.5 % ± 15.3 (n 40)"),
        (Estimate(1.23456, 1.2, 1.27, 1200, clusters=12), "1.235 ± 0.035 (n 1,200 in 12 clusters)"),
        (Estimate(0.0, 0.0, 0.161, 20, share=True), "0.0 % ± 16.1 (n 20)"),
        (Estimate(4.31, None, None, 1), "4.3 (n 1, no interval)"),
        (Difference(0.032, -0.009, 0.073, 200, share=True, p=0.12), "+3.2 ± 4.1 points (n 200, p 0.12)"),
        (Difference(-0.2, -0.3, -0.1, 90, seeds=3, p=1e-5), "-0.20 ± 0.10 (n 90 × 3 seeds, p < 0.001)"),
        (Difference(0.1, 0.02, 0.18, 90, p=0.01, p_holm=0.03), "+0.100 ± 0.080 (n 90, p 0.03 after Holm)"),
        (Difference(-0.00001, -0.2, 0.2, 90, share=True, p=0.9), "+0.0 ± 20.0 points (n 90, p 0.9)"),
    ],
)
def test_the_text_of_a_number_has_its_interval_and_n(value: Estimate | Difference, text: str):
    assert str(value) == text
    assert type(value).from_json(value.as_json()) == value
    assert number_text(value.as_json()) == text


def test_what_is_no_estimate_has_no_text():
    assert number_text({"mean": 1}) is None
    assert number_text(3.5) is None


def test_a_verdict_knows_which_way_is_better():
    lower = Difference(-0.2, -0.3, -0.1, 90, p=0.001)
    assert (lower.verdict(), lower.verdict(higher_is_better=False)) == ("worse", "better")
    assert Difference(-0.2, -0.3, -0.1, 90, p=0.001, p_holm=0.2).verdict() == "undecided"


def test_perplexity_is_exp_of_both_ends():
    found = Estimate(1.0, 0.5, 2.0, 10).exponential()
    assert (found.mean, found.low, found.high) == pytest.approx((math.e, math.exp(0.5), math.exp(2)))
