"""The sampler: logits → the next token of each row.

Knows sampling settings and seeds. Knows nothing of models, caches or text.
A row's token depends on its own logits, settings and seed alone, whatever else is in its batch.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterable, Sequence

import torch

from camelid_serve.engine import Sampling

_TOP_P_CANDIDATES = 256
"""Likeliest tokens tried first for `top_p`; sorting a whole vocabulary is slow and rarely needed."""


class Sampler:
    """One row's sampling settings, its random numbers, and the tokens that occurred in it."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int]) -> None:
        self.sampling = sampling
        # of a whole number Random takes the absolute value alone: -1 would draw what 1 does
        self._random = random.Random(sampling.seed if sampling.seed >= 0 else str(sampling.seed))
        self._seen = set(prompt) if sampling.repetition_penalty != 1 else None
        self._ngrams = _SeenNgrams(sampling.no_repeat_ngram_size, prompt) if sampling.no_repeat_ngram_size else None

    @property
    def is_argmax(self) -> bool:
        """Greedy decoding without penalties: the argmax of the logits, nothing else to do."""
        return self.sampling.temperature == 0 and self._seen is None and self._ngrams is None

    def sample(self, logits: torch.Tensor) -> int:
        """The next token from one row of float32 logits; it is remembered for the penalties."""
        if self._seen is not None:
            logits = _apply_repetition_penalty(logits, self._seen, self.sampling.repetition_penalty)
        if self._ngrams is not None:
            logits = _ban_tokens(logits, self._ngrams.completing())
        token = int(logits.argmax()) if self.sampling.temperature == 0 else self._draw(logits)
        if self._seen is not None:
            self._seen.add(token)
        if self._ngrams is not None:
            self._ngrams.add(token)
        return token

    def _draw(self, logits: torch.Tensor) -> int:
        sampling, scaled = self.sampling, logits / self.sampling.temperature
        if not bool(scaled.max().isfinite()):  # a temperature too small for the number format
            return int(logits.argmax())
        values, tokens = _top_k_top_p(scaled, sampling.top_k, sampling.top_p)
        if sampling.min_p:
            likely = values >= values.max() + math.log(sampling.min_p)
            values, tokens = values[likely], tokens[likely]
        cumulative = values.softmax(-1).double().cumsum(-1)
        drawn = cumulative.new_tensor([self._random.random()]) * cumulative[-1]
        position = torch.searchsorted(cumulative, drawn, right=True)
        return int(tokens[position.clamp(max=len(tokens) - 1)])


class _SeenNgrams:
    """N-grams of `size` tokens that occurred, by all of their tokens but the last."""

    def __init__(self, size: int, tokens: Iterable[int]) -> None:
        self._last: deque[int] = deque(maxlen=size - 1)
        self._size = size
        self._next: dict[tuple[int, ...], set[int]] = {}
        for token in tokens:
            self.add(token)

    def add(self, token: int) -> None:
        if len(self._last) == self._size - 1:
            self._next.setdefault(tuple(self._last), set()).add(token)
        self._last.append(token)

    def completing(self) -> set[int]:
        """Tokens that would now repeat an n-gram."""
        return self._next.get(tuple(self._last), set())


def sample(logits: torch.Tensor, samplers: Sequence[Sampler]) -> list[int]:
    """The next token of every row; a batch without sampling and penalties takes one argmax together."""
    if all(sampler.is_argmax for sampler in samplers):
        return [int(token) for token in logits.argmax(-1).tolist()]
    return [sampler.sample(row) for row, sampler in zip(logits.float(), samplers, strict=True)]


def usable_rows(logits: torch.Tensor) -> list[bool]:
    """Of every row, whether a token can be chosen: without NaN and infinity, and not all impossible."""
    usable: list[bool] = logits.amax(-1).isfinite().tolist()
    return usable


def _top_k_top_p(logits: torch.Tensor, top_k: int, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and ids that top-k and then top-p (nucleus) sampling leave, likeliest first unless both are off."""
    size = logits.shape[-1]
    if top_k:
        values, tokens = logits.topk(min(top_k, size))
        return _top_p(values, tokens, values.logsumexp(-1), top_p)
    if top_p == 1:
        return logits, torch.arange(size, device=logits.device)
    total = logits.logsumexp(-1)
    values, tokens = logits.topk(min(_TOP_P_CANDIDATES, size))
    if float((values - total).exp().sum()) < top_p:
        values, tokens = logits.sort(descending=True)
    return _top_p(values, tokens, total, top_p)


def _top_p(
    values: torch.Tensor, tokens: torch.Tensor, total: torch.Tensor, top_p: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The fewest likeliest tokens whose probabilities reach `top_p`."""
    if top_p == 1:
        return values, tokens
    before = (values - total).exp().cumsum(-1) - (values - total).exp()
    kept = max(1, int((before < top_p).sum()))
    return values[:kept], tokens[:kept]


def _apply_repetition_penalty(logits: torch.Tensor, seen: set[int], penalty: float) -> torch.Tensor:
    """Make seen tokens less likely, as in the CTRL paper: positive logits ÷ penalty, negative ones × penalty."""
    ids = torch.tensor(sorted(seen), device=logits.device)
    chosen = logits[ids]
    return logits.index_copy(0, ids, torch.where(chosen < 0, chosen * penalty, chosen / penalty))


def _ban_tokens(logits: torch.Tensor, banned: set[int]) -> torch.Tensor:
    """Never these tokens, unless none would be left to choose from."""
    ids = torch.tensor([token for token in sorted(banned) if token < logits.shape[-1]], device=logits.device)
    if not len(ids) or len(ids) == logits.shape[-1]:
        return logits
    return logits.index_fill(0, ids, -torch.inf)
