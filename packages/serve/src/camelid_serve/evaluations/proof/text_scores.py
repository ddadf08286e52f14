"""A text and a loaded model → scores, piece by piece: whole distributions where the engine tells them, else those of
the likeliest tokens.

Knows what engines can do. Knows nothing of files and statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from camelid_core.errors import ModelError

from camelid_serve.engine import (
    ComputesDistributions,
    ComputesPromptLogprobs,
    Engine,
    Request,
    Sampling,
    TokenLogprob,
)
from camelid_serve.loaded_models import LoadedModel

from .token_scores import ABSENT, Scores, whole

Take = Callable[[Scores], None]


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """Token ids of a text, and the positions of those that count; position 0 never does, as nothing is before it."""

    ids: Sequence[int]
    counted: Sequence[int]


def tells_distributions(engine: Engine) -> bool:
    """Whether its scores are whole distributions."""
    return isinstance(engine, ComputesDistributions)


def score(loaded: LoadedModel, text: TokenizedText, top: int, take: Take) -> None:
    """Give `take` the scores of the counted tokens, in order and in pieces; of an engine that tells no distributions
    those of its `top` likeliest tokens.

    Raises:
        ModelError: the engine cannot read the text, or tells no probabilities.
    """
    engine = loaded.engine
    if isinstance(engine, ComputesDistributions):
        _score_whole(engine, loaded.adapter, text, take)
    else:
        take(_likeliest(_token_logprobs(loaded, text, top), [text.ids[at] for at in text.counted]))


def _score_whole(engine: ComputesDistributions, adapter: str | None, text: TokenizedText, take: Take) -> None:
    before = torch.tensor(text.counted) - 1  # a token's distribution is that after the one before it
    tokens = torch.tensor([text.ids[at] for at in text.counted])
    start = first = int(before[0])

    def pick(rows: torch.Tensor) -> None:
        nonlocal start
        here = (before >= start) & (before < start + len(rows))
        if here.any():
            take(whole(rows[before[here] - start], tokens[here]))
        start += len(rows)

    engine.next_token_logprobs(text.ids[: int(before[-1]) + 1], adapter, first, pick)


def _token_logprobs(loaded: LoadedModel, text: TokenizedText, top: int) -> list[TokenLogprob]:
    """At each counted token. An engine that does not read out prompts is asked for one token after each beginning."""
    engine = loaded.engine
    if isinstance(engine, ComputesPromptLogprobs):
        found = engine.prompt_logprobs(text.ids, loaded.adapter, top)
        return [found[at - 1] for at in text.counted]
    sampling = Sampling(max_new_tokens=1)
    requests = [Request(text.ids[:at], sampling, loaded.adapter, frozenset(), top) for at in text.counted]
    answers: dict[int, TokenLogprob] = {}
    with engine.stream(requests) as stream:
        for event in stream:
            if event.error is not None:
                raise event.error
            if event.token_logprob is not None:
                answers[event.index] = event.token_logprob
    if missing := len(requests) - len(answers):
        raise ModelError(
            f"the engine told no probabilities at {missing:,} of {len(requests):,} tokens, so nothing can be compared; "
            "take an engine that does, such as transformers or llamacpp."
        )
    return [answers[number] for number in range(len(requests))]


def _likeliest(logprobs: Sequence[TokenLogprob], tokens: Sequence[int]) -> Scores:
    """Scores from the likeliest tokens; the one that is there is among those known where the engine told it."""
    known = [{**dict(each.top), each.token: each.logprob} for each in logprobs]
    own = [each.get(token, torch.nan) for each, token in zip(known, tokens, strict=True)]
    top: list[Any] = [max(each, key=lambda token: each[token]) for each in known]
    width = max(map(len, known), default=1)
    ids = [[*each, *[ABSENT] * (width - len(each))] for each in known]
    values = [[*each.values(), *[-torch.inf] * (width - len(each))] for each in known]
    floor = [min((value for _, value in each.top), default=each.logprob) for each in logprobs]
    return Scores(*map(torch.tensor, (own, top, values, ids, floor)))
