"""Sampling takes from the tokens that the settings leave, in the right shares."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from camelid_serve.engine import Sampling
from camelid_serve.engines.choosing import Chooser

LOGITS = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()


def drawn(sampling: Sampling, count: int = 4000) -> dict[int, float]:
    chooser = Chooser(sampling, [])
    counts = Counter(chooser.choose(LOGITS) for _ in range(count))
    return {token: counts[token] / count for token in sorted(counts)}


@pytest.mark.parametrize(
    ("sampling", "shares"),
    [
        (Sampling(temperature=1), {0: 0.5, 1: 0.3, 2: 0.15, 3: 0.05}),
        (Sampling(temperature=1, top_k=2), {0: 0.625, 1: 0.375}),
        (Sampling(temperature=1, top_p=0.7), {0: 0.625, 1: 0.375}),
        (Sampling(temperature=1, top_p=0.01), {0: 1.0}),
        (Sampling(temperature=1, top_k=3, top_p=0.8), {0: 0.625, 1: 0.375}),
        (Sampling(temperature=0), {0: 1.0}),
    ],
)
def test_shares(sampling: Sampling, shares: dict[int, float]) -> None:
    assert drawn(sampling) == pytest.approx(shares, abs=0.03)


def test_a_flat_distribution_is_not_cut_at_the_narrow_look() -> None:
    chooser = Chooser(Sampling(temperature=1, top_p=0.99), [])
    assert max(chooser.choose(torch.zeros(2000)) for _ in range(200)) > 256
