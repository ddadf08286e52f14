"""Log-probabilities of given continuations of prompts, as few forward passes as there can be.

Where every option is one token, one pass reads a batch of prompts of similar lengths; else the prompt is read once and
all of its options go on from its KV cache together. Knows the model call. Knows nothing of texts, choices or scores.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import DynamicCache

from camelid_serve.engine import Continuations, NotFinite

from .logprobs import prompt_logprobs
from .positions import dynamic_positions, has_prefix_attention
from .sampling import usable_rows

_TOKENS_PER_PASS = 8192
_ROWS_PER_PASS = 32
"""Logits are as wide as the vocabulary, and there is one row of them for each length in a batch."""


@torch.inference_mode()
def continuation_logprobs(model: Any, items: Sequence[Continuations]) -> list[list[float]]:
    """By item and option the log-probability of all tokens of the option after the prompt.

    Raises:
        NotFinite: the model computed no numbers.
    """
    if has_prefix_attention(model) or dynamic_positions(model):  # what is read depends on what follows it
        return [[_alone(model, item.ids, option) for option in item.options] for item in items]
    found: list[list[float]] = [[] for _ in items]
    single = [number for number, item in enumerate(items) if all(len(option) == 1 for option in item.options)]
    for batch in _batches(items, single):
        for number, logprobs in zip(batch, _next_logprobs(model, [items[at].ids for at in batch]), strict=True):
            found[number] = [float(logprobs[option[0]]) for option in items[number].options]
    for number in set(range(len(items))) - set(single):
        found[number] = _from_shared_cache(model, items[number])
    return found


def _alone(model: Any, ids: Sequence[int], option: Sequence[int]) -> float:
    scored = prompt_logprobs(model, [*ids, *option], 0)
    return sum(each.logprob for each in scored[len(ids) - 1 : len(ids) - 1 + len(option)])


def _batches(items: Sequence[Continuations], numbers: Sequence[int]) -> Iterator[list[int]]:
    """Prompts of similar lengths together, the longest first."""
    batch: list[int] = []
    for number in sorted(numbers, key=lambda at: len(items[at].ids), reverse=True):
        longest = len(items[batch[0]].ids) if batch else 0
        if batch and (len(batch) == _ROWS_PER_PASS or longest * (len(batch) + 1) > _TOKENS_PER_PASS):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def _next_logprobs(model: Any, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
    """Of the token after each prompt. Prompts are padded behind their end, where causal attention does not look."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[*each, *[each[0]] * (longest - len(each))] for each in prompts], device=model.device)
    ends = torch.tensor([len(each) - 1 for each in prompts], device=model.device)
    if "logits_to_keep" in inspect.signature(_forward(model)).parameters:
        kept, rows = ends.unique(return_inverse=True)
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=kept).logits
    else:
        logits, rows = model(input_ids=ids, use_cache=False).logits, ends
    return _logprobs(logits[torch.arange(len(prompts), device=logits.device), rows.to(logits.device)])


def _from_shared_cache(model: Any, item: Continuations) -> list[float]:
    """The prompt is read once; its options, padded behind their ends, go on from it as one batch."""
    options, count = item.options, len(item.options)
    cache = DynamicCache(config=model.config)
    keep = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(_forward(model)).parameters else {}
    prompt = torch.tensor([list(item.ids)], device=model.device)
    first = model(input_ids=prompt, past_key_values=cache, use_cache=True, **keep).logits[:, -1]
    totals = _logprobs(first)[0, [option[0] for option in options]]
    longest = max(map(len, options)) - 1
    if not longest:
        return totals.tolist()
    cache.batch_repeat_interleave(count)
    rows = [[*option[:-1], *[option[0]] * (longest - len(option) + 1)] for option in options]
    ids = torch.tensor(rows, device=model.device)
    logprobs = _logprobs(model(input_ids=ids, past_key_values=cache, use_cache=True).logits.flatten(0, 1))
    for row, option in enumerate(options):
        at = [row * longest + place for place in range(len(option) - 1)]
        totals[row] += logprobs[at, list(option[1:])].sum()
    return totals.tolist()


def _logprobs(logits: torch.Tensor) -> torch.Tensor:
    if not all(usable_rows(logits)):
        raise NotFinite
    return logits.float().log_softmax(-1).cpu()


def _forward(model: Any) -> Any:
    return getattr(model, "get_base_model", lambda: model)().forward
