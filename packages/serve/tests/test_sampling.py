"""The sampler draws from the tokens that the settings leave, in proportion to their probabilities."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from camelid_serve.engine import Sampling
from camelid_serve.engines.sampling import Sampler
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import NoRepeatNGramLogitsProcessor

LOGITS = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()


def sampled_frequencies(sampling: Sampling, count: int = 4000) -> dict[int, float]:
    sampler = Sampler(sampling, [])
    counts = Counter(sampler.sample(LOGITS) for _ in range(count))
    return {token: counts[token] / count for token in sorted(counts)}


@pytest.mark.parametrize(
    ("sampling", "frequencies"),
    [
        (Sampling(temperature=1), {0: 0.5, 1: 0.3, 2: 0.15, 3: 0.05}),
        (Sampling(temperature=1, top_k=2), {0: 0.625, 1: 0.375}),
        (Sampling(temperature=1, top_p=0.7), {0: 0.625, 1: 0.375}),
        (Sampling(temperature=1, top_p=0.01), {0: 1.0}),
        (Sampling(temperature=1, top_k=3, top_p=0.8), {0: 0.625, 1: 0.375}),
        (Sampling(temperature=1, min_p=0.4), {0: 0.625, 1: 0.375}),
        (Sampling(temperature=1, min_p=0.2, top_k=2), {0: 0.625, 1: 0.375}),
        (Sampling(temperature=1, min_p=1), {0: 1.0}),
        (Sampling(temperature=1, top_p=0), {0: 1.0}),
        (Sampling(temperature=1, top_k=-1), {0: 0.5, 1: 0.3, 2: 0.15, 3: 0.05}),
        (Sampling(temperature=1e-45), {0: 1.0}),
        (Sampling(temperature=1e-300, top_p=0.9, top_k=3), {0: 1.0}),
        (Sampling(temperature=0), {0: 1.0}),
    ],
)
def test_token_frequencies(sampling: Sampling, frequencies: dict[int, float]) -> None:
    assert sampled_frequencies(sampling) == pytest.approx(frequencies, abs=0.03)


def test_every_seed_gives_another_sample() -> None:
    drawn_by = {
        seed: [sampler.sample(torch.zeros(1000)) for _ in range(4)]
        for seed in (-(2**63), -2, -1, 0, 1, 2)
        for sampler in [Sampler(Sampling(temperature=1, seed=seed), [])]
    }
    assert len({tuple(tokens) for tokens in drawn_by.values()}) == len(drawn_by)


def test_top_p_of_a_flat_distribution_takes_the_whole_vocabulary() -> None:
    sampler = Sampler(Sampling(temperature=1, top_p=0.99), [])
    assert max(sampler.sample(torch.zeros(2000)) for _ in range(200)) > 256


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.lists(st.integers(0, 3), max_size=30), st.integers(1, 12))
def test_no_repeat_ngram_equals_transformers(size: int, prompt: list[int], steps: int) -> None:
    rule, sampler = NoRepeatNGramLogitsProcessor(size), Sampler(Sampling(no_repeat_ngram_size=size), prompt)
    tokens, generator = list(prompt), torch.Generator().manual_seed(size)
    for _ in range(steps):
        logits = torch.randn(6, generator=generator)
        allowed = rule(torch.tensor([tokens], dtype=torch.long), logits[None])[0] if tokens else logits
        if allowed.isinf().all():
            return
        tokens.append(sampler.sample(logits))
        assert tokens[-1] == int(allowed.argmax())


def test_a_token_is_sampled_even_if_all_are_banned() -> None:
    for sampling in (Sampling(no_repeat_ngram_size=1), Sampling(no_repeat_ngram_size=1, temperature=1, top_p=0.9)):
        assert Sampler(sampling, range(4)).sample(LOGITS) in range(4)


def test_sampling_leaves_out_banned_tokens() -> None:
    sampling = Sampling(no_repeat_ngram_size=2, temperature=1)
    assert {Sampler(sampling.model_copy(update={"seed": seed}), [3, 0, 3]).sample(LOGITS) for seed in range(40)} == {
        1, 2, 3,
    }  # fmt: skip
