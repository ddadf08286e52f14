"""Greedy answers of an engine to prompts of token ids, and where two of them part.

Knows engines and their events. Knows nothing of texts, templates or what a difference means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from camelid_serve.engine import Request, Sampling, TokenLogprob
from camelid_serve.loaded_models import LoadedModel


@dataclass(frozen=True, slots=True)
class GreedyAnswer:
    """A greedy answer. The last of `tokens` is None where it ended by itself."""

    tokens: tuple[int | None, ...]
    logprobs: tuple[TokenLogprob | None, ...]


def greedy_answers(
    loaded: LoadedModel,
    ids: Sequence[Sequence[int]],
    stops: frozenset[int],
    tokens: int,
    top_logprobs: int | None = None,
) -> list[GreedyAnswer]:
    """At most `tokens` tokens after each prompt, with the log-probabilities of the `top_logprobs` likeliest if asked.

    Raises:
        ModelError: the engine cannot answer, or knows no log-probabilities.
    """
    sampling = Sampling(max_new_tokens=tokens)
    requests = [Request(each, sampling, loaded.adapter, stops, top_logprobs) for each in ids]
    pairs: list[list[tuple[int | None, TokenLogprob | None]]] = [[] for _ in requests]
    with loaded.engine.stream(requests) as stream:
        for event in stream:
            if event.error is not None:
                raise event.error
            if event.token is not None or event.finish == "stop":
                pairs[event.index].append((event.token, event.token_logprob))
    return [GreedyAnswer(tuple(token for token, _ in each), tuple(logprob for _, logprob in each)) for each in pairs]


def first_difference(ours: Sequence[int | None], theirs: Sequence[int | None]) -> int | None:
    """A shorter answer that did not end by itself was truncated: it differs where the other continues."""
    missing = object()
    pairs = zip_longest(ours, theirs, fillvalue=missing)
    return next((position for position, (one, two) in enumerate(pairs) if one != two), None)
