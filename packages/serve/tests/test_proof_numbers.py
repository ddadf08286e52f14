"""Divergences and intervals: what the formulas promise, for any distributions and any texts."""

from __future__ import annotations

import pytest
import torch
from camelid_core.errors import UsageError
from camelid_core.statistics import Estimate
from camelid_core.statistics.scores import estimate_of_sums
from camelid_serve.evaluations.proof.format_limits import limits_of, verdict
from camelid_serve.evaluations.proof.token_scores import ABSENT, Scores, divergences, whole
from hypothesis import given, settings
from hypothesis import strategies as st

WIDTH, TOKENS, TOP = 50, 70, 8


def random_scores(seed: int, sharpness: float = 2.0, width: int = WIDTH) -> Scores:
    torch.manual_seed(seed)
    logits = sharpness * torch.randn(TOKENS, width)
    return whole(logits.log_softmax(-1), torch.randint(0, width, (TOKENS,)))


def likeliest(scores: Scores, count: int = TOP) -> Scores:
    values, ids = scores.logprobs.float().log_softmax(-1).topk(count)
    return Scores(scores.own, scores.top, values, ids, values.amin(-1))


def exact(source: Scores, export: Scores) -> torch.Tensor:
    ours, theirs = (each.logprobs.double().log_softmax(-1) for each in (source, export))
    return torch.nn.functional.kl_div(theirs, ours, log_target=True, reduction="none").sum(-1)


@pytest.mark.parametrize("sharpness", [0.1, 2.0, 30.0])
def test_the_divergence_of_whole_distributions_is_exact(sharpness: float) -> None:
    source, export = random_scores(1, sharpness), random_scores(2, sharpness)
    assert torch.allclose(divergences(source, export), exact(source, export), rtol=1e-4, atol=1e-6)


@given(st.integers(0, 10_000), st.floats(0.01, 20))
@settings(max_examples=25, deadline=None)
def test_it_is_nothing_with_itself_and_never_negative(seed: int, sharpness: float) -> None:
    source, export = random_scores(seed, sharpness), random_scores(seed + 1, sharpness)
    for ours, theirs in ((source, export), (likeliest(source), export), (source, likeliest(export))):
        assert bool((divergences(ours, theirs) >= 0).all())
    for same in (source, likeliest(source)):
        assert float(divergences(same, same).max()) == 0


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_lumping_tokens_never_adds_to_it(seed: int) -> None:
    source, export = random_scores(seed), random_scores(seed + 1)
    most = exact(source, export) + 1e-3
    for ours, theirs in (
        (likeliest(source), export),
        (source, likeliest(export)),
        (likeliest(source), likeliest(export)),
    ):
        assert bool((divergences(ours, theirs) <= most).all())
    every = divergences(likeliest(source, WIDTH), likeliest(export, WIDTH))
    assert torch.allclose(every, exact(source, export), rtol=1e-2, atol=1e-3)


def test_tokens_that_the_other_does_not_tell_count_by_what_it_could_give_them_at_most() -> None:
    """Or models with no likely token in common would seem alike."""
    source, export = random_scores(1, 4.0), random_scores(2, 4.0)
    whole_divergence = float(divergences(source, export).mean())
    for ours in (source, likeliest(source)):
        assert float(divergences(ours, likeliest(export)).mean()) > whole_divergence / 4


def test_a_wider_vocabulary_and_missing_ids_are_lumped() -> None:
    source, export = random_scores(3), random_scores(4, width=WIDTH + 6)
    assert bool((divergences(source, export) > 0).all())
    few = likeliest(source)
    assert few.ids is not None
    padded = Scores(
        few.own,
        few.top,
        torch.cat([few.logprobs, torch.full((TOKENS, 2), -torch.inf)], 1),
        torch.cat([few.ids, torch.full((TOKENS, 2), ABSENT)], 1),
        few.floor,
    )
    assert torch.equal(divergences(padded, export), divergences(few, export))


def test_impossible_tokens_leave_it_finite() -> None:
    logits = torch.randn(3, 6)
    logits[:, 2] = -torch.inf
    source = whole(logits.log_softmax(-1), torch.tensor([0, 1, 3]))
    export = whole(torch.randn(3, 6).log_softmax(-1), torch.tensor([0, 1, 3]))
    assert divergences(source, export).isfinite().all()
    assert divergences(export, source).isfinite().all()


def test_one_text_has_no_interval() -> None:
    with pytest.raises(ValueError, match="two clusters"):
        estimate_of_sums([1.0], [3])


def test_a_text_is_one_observation_however_long_it_is() -> None:
    """Tokens that say the same add nothing: the interval is that of the texts."""
    long, short = (estimate_of_sums([n * v for v in (0.1, 0.2, 0.4)], [n] * 3) for n in (1000, 1))
    assert long.ends == pytest.approx(short.ends)


def estimate(mean: float, reach: float) -> Estimate:
    return Estimate(mean, mean - reach, mean + reach, 1000, 20)


GOOD = {"divergence": estimate(0.001, 0.0001), "top_equal": estimate(0.98, 0.002), "log_ratio": estimate(0.0, 0.001)}


@pytest.mark.parametrize(
    ("change", "failed", "why"),
    [
        ({}, [], ""),
        ({"divergence": estimate(0.02, 0.001)}, ["kl_mean"], "is the limit"),
        ({"divergence": estimate(0.004, 0.005)}, ["kl_mean"], "more rows"),
        ({"top_equal": estimate(0.5, 0.01)}, ["top_equal"], "is the limit"),
        ({"log_ratio": estimate(0.1, 0.01)}, ["perplexity_ratio"], "is the limit"),
        ({"log_ratio": estimate(-0.1, 0.01)}, ["perplexity_ratio"], "the lowest"),
        ({"log_ratio": estimate(0.01, 0.05)}, ["perplexity_ratio"], "more rows"),
        ({"log_ratio": None}, [], ""),
    ],
)
def test_a_limit_is_kept_if_the_whole_interval_is_within(change: dict, failed: list[str], why: str) -> None:
    checks = verdict(limits_of("q8_0", {}), **{**GOOD, **change}, template_equal=True)
    assert [check.name for check in checks if check.passed is False] == failed
    assert all(why in check.reason for check in checks if check.passed is False)


def test_other_prompts_fail_whatever_the_numbers_are() -> None:
    checks = verdict(limits_of("q8_0", {}), **GOOD, template_equal=False)
    assert [check.name for check in checks if check.passed is False] == ["template"]


def test_limits_are_wider_for_fewer_bits_and_given_ones_replace_them() -> None:
    order = ["bfloat16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0", "q3_k_s", "q2_k"]
    limits = [limits_of(name, {}) for name in order]
    assert [each.kl_mean for each in limits] == sorted(each.kl_mean for each in limits)
    assert [each.top_equal for each in limits] == sorted((each.top_equal for each in limits), reverse=True)
    assert limits_of("q8_0", {"top_equal": 0.5}).top_equal == 0.5
    assert limits_of("q8_0", {"top_equal": 0.5}).kl_mean == limits[1].kl_mean
    with pytest.raises(UsageError, match="--limit kl_mean"):
        limits_of("iq1_s", {"kl_mean": 1.0})
