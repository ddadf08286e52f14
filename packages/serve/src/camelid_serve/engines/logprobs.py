"""Log-probabilities: of sampled tokens, and at every token of a given prompt.

Knows logits and the model call. Knows nothing of sampling settings, batches or text.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from camelid_core.errors import ModelError
from torch.nn.functional import cross_entropy

from camelid_serve.engine import NotFinite, TakeRows, TokenLogprob

from .kv_cache import new_cache
from .positions import dynamic_positions, forget_lengths, has_prefix_attention
from .sampling import usable_rows

_STRIDE = 256
"""Tokens whose logits are held at once: each is as wide as the vocabulary, and they would fill the memory."""


def token_logprob(logits: torch.Tensor, token: int, top: int) -> TokenLogprob:
    """The log-probability of `token` in one row of logits, and those of the `top` likeliest tokens."""
    return token_logprobs(logits[None], [token], top)[0]


def prompt_logprobs(model: Any, ids: Sequence[int], top: int) -> list[TokenLogprob]:
    """Of every token of `ids` after the first, and last of the token that the model would choose to come next."""
    found: list[TokenLogprob] = []
    for start, logits in _prompt_logits(model, ids):
        following = torch.tensor(ids[start + 1 : start + 1 + len(logits)], device=logits.device)
        if len(following) < len(logits):  # the end: the next token is the likeliest
            following = torch.cat([following.long(), logits[-1:].argmax(-1)])
        found += token_logprobs(logits, following.tolist(), top)
    return found


def next_token_logprobs(model: Any, ids: Sequence[int], first: int, take: TakeRows) -> None:
    """Give `take` the log-probabilities of all tokens after each token of `ids`, from position `first` on."""
    for start, logits in _prompt_logits(model, ids):
        take_logprobs(logits[max(0, first - start) :], take)


def take_logprobs(logits: torch.Tensor, take: TakeRows) -> None:
    """Give `take` the log-probabilities of some rows of logits, if there are any.

    Raises:
        NotFinite: the model computed no numbers.
    """
    if not len(logits):
        return
    if not all(usable_rows(logits)):
        raise NotFinite
    take(logits.float().log_softmax(-1).cpu())


def _prompt_logits(model: Any, ids: Sequence[int]) -> Iterator[tuple[int, torch.Tensor]]:
    """Logits after every token of a prompt, in pieces, each with the position of its first row; in one piece where
    attention within a prompt goes in both directions."""
    stride = len(ids) if has_prefix_attention(model) else _STRIDE
    dynamic = dynamic_positions(model)
    forget_lengths(dynamic)
    cache = new_cache(model.config)
    for start in range(0, len(ids), stride):
        piece = torch.tensor([ids[start : start + stride]], device=model.device)
        mask = torch.ones((1, start + piece.shape[1]), dtype=torch.long, device=model.device)
        yield start, model(input_ids=piece, attention_mask=mask, past_key_values=cache, use_cache=True).logits[0]
    forget_lengths(dynamic)  # a running answer continues with its own


def token_losses(model: Any, windows: torch.Tensor, count: int) -> torch.Tensor:
    """Cross-entropy of the last `count` tokens of each window: their negative log-probabilities given all before.

    Each window, a row of ids, takes one forward pass without a KV cache, so that positions that change with the length
    are those of this length. Logits are computed for the `count` tokens alone.

    Raises:
        ModelError: the model reads prompts in both directions, so that a window has no likelihood given what is before.
    """
    if has_prefix_attention(model):
        raise ModelError(
            f"{model.config.model_type!r} models have prefix attention: they predict answers, not running text. "
            "Measure them by answers instead."
        )
    forget_lengths(dynamic_positions(model))
    whole = getattr(model, "get_base_model", lambda: model)()
    keep = {"logits_to_keep": count} if "logits_to_keep" in inspect.signature(whole.forward).parameters else {}
    logits = model(input_ids=windows[:, :-1].to(model.device), use_cache=False, **keep).logits[:, -count:].flatten(0, 1)
    chosen = windows[:, -count:].to(logits.device).flatten()
    pieces = zip(logits.split(_STRIDE), chosen.split(_STRIDE), strict=True)
    costs = [cross_entropy(piece.float(), tokens, reduction="none") for piece, tokens in pieces]
    if any(bool(cost.isnan().any()) for cost in costs):
        raise NotFinite
    return torch.cat(costs).view(len(windows), count)


def token_logprobs(logits: torch.Tensor, tokens: Sequence[int], top: int) -> list[TokenLogprob]:
    """The log-probability of a token in each row of logits, and those of the `top` likeliest ones there.

    Raises:
        NotFinite: the model computed no numbers.
    """
    if not all(usable_rows(logits)):
        raise NotFinite
    logprobs = logits.float().log_softmax(-1)
    own = logprobs.gather(-1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0].tolist()
    values, ids = logprobs.topk(min(top, logprobs.shape[-1]))
    likeliest = [tuple(zip(row, worth, strict=True)) for row, worth in zip(ids.tolist(), values.tolist(), strict=True)]
    return [TokenLogprob(*each) for each in zip(tokens, own, likeliest, strict=True)]
