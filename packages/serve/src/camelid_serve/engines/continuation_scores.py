"""Log-probabilities of continuations of prompts: how likely each choice of a question is as its answer.

Knows the model call, the KV cache and the prefix cache. Knows nothing of tasks, texts or threads. A prompt is computed
once for all its continuations, and a beginning that many prompts share once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from camelid_serve.engine import Continuation, TokenLogprob

from .kv_cache import cache_from_prefixes, keeps_all_positions, new_cache, select_rows
from .logprobs import prompt_logprobs, token_logprobs
from .model_call import PASS_TOKENS, ModelCall
from .positions import has_prefix_attention, native_length
from .prefix_cache import PrefixCache, common_prefix_length

_MAX_PASS_TOKENS = {"cpu": 1536}
"""Most tokens of one forward pass, padding included, by device type. On a CPU larger passes leave the processor's
caches."""
_MAX_PASS_TOKENS_ELSEWHERE = 8192
_MAX_LOGIT_ROWS = 512
"""Tokens whose logits are held at once: each is as wide as the vocabulary."""

Scored = tuple[int, list[TokenLogprob]]
"""The index of a continuation, and the log-probabilities of its tokens."""


class _Prompt:
    """One prompt with all its continuations, by index."""

    def __init__(self, ids: tuple[int, ...]) -> None:
        self.ids = ids
        self.continuations: list[tuple[int, Sequence[int]]] = []


class ContinuationScores:
    """Scores continuations under one adapter, batch after batch. Between two of them the model may do other things, but
    for changing that adapter."""

    def __init__(self, model: Any, prefix_cache: PrefixCache, adapter: str | None) -> None:
        self._call = ModelCall(model)
        self._prefix_cache = prefix_cache
        self._adapter = adapter
        self._shares = (
            keeps_all_positions(new_cache(model.config))
            and native_length(model) is None
            and not has_prefix_attention(model)
        )
        device = model.device.type
        self._pass_tokens = _MAX_PASS_TOKENS.get(device, _MAX_PASS_TOKENS_ELSEWHERE)

    def batches(self, continuations: Sequence[Continuation]) -> Iterator[list[_Prompt]]:
        """Which prompts are computed together."""
        prompts: dict[tuple[int, ...], _Prompt] = {}
        for index, each in enumerate(continuations):
            ids = tuple(each.prompt)
            prompts.setdefault(ids, _Prompt(ids)).continuations.append((index, each.ids))
        if not self._shares:
            yield from ([prompt] for prompt in prompts.values())
            return
        for alike in _with_shared_beginnings(prompts):
            batch: list[_Prompt] = []
            for prompt in sorted((prompts[ids] for ids in alike), key=lambda prompt: -len(prompt.ids)):
                if batch and len(batch[0].ids) * (len(batch) + 1) > self._pass_tokens:
                    yield batch
                    batch = []
                batch.append(prompt)
            yield batch

    def score(self, batch: Sequence[_Prompt]) -> list[Scored]:
        """The log-probabilities of the continuations of one batch.

        Raises:
            NotFinite: the model computed no numbers.
        """
        if not self._shares:
            return [each for prompt in batch for each in self._one_by_one(prompt)]
        prompts = [prompt.ids for prompt in batch]
        known, cached = self._call.shared_prefix(self._prefix_cache, self._adapter, prompts)
        config = self._call.model.config
        cache = cache_from_prefixes(config, [cached.keys_values if cached else None] * len(batch), [known] * len(batch))
        rest = [list(ids[known:]) for ids in prompts]
        longest, lengths = max(map(len, rest)), list(map(len, rest))
        mask = torch.cat(
            [self._call.right_aligned_mask([known] * len(batch)), self._call.right_aligned_mask(lengths)], dim=1
        )
        first = self._call.logits([[0] * (longest - len(ids)) + ids for ids in rest], mask, cache)[:, -1]
        rows = [(row, index, ids) for row, prompt in enumerate(batch) for index, ids in prompt.continuations]
        found = {index: token_logprobs(first[row : row + 1], ids[:1], 1) for row, index, ids in rows}
        for part in self._parts([each for each in rows if len(each[2]) > 1]):
            chosen = torch.tensor([row for row, _, _ in part], device=self._call.device)
            followed = self._following([ids for _, _, ids in part], mask[chosen], select_rows(cache, config, chosen))
            for (_, index, _), logprobs in zip(part, followed, strict=True):
                found[index] += logprobs
        return list(found.items())

    def _one_by_one(self, prompt: _Prompt) -> Iterator[Scored]:
        """For models that cannot continue from what was computed before: each continuation with the whole prompt."""
        start = len(prompt.ids) - 1
        for index, ids in prompt.continuations:
            yield index, prompt_logprobs(self._call.model, [*prompt.ids, *ids], 1)[start : start + len(ids)]

    def _parts(self, rows: Sequence[tuple[int, int, Sequence[int]]]) -> Iterator[list[tuple[int, int, Sequence[int]]]]:
        """Continuations that share a pass, the longest first."""
        part: list[tuple[int, int, Sequence[int]]] = []
        for each in sorted(rows, key=lambda row: -len(row[2])):
            if part and len(part[0][2]) * (len(part) + 1) > self._pass_tokens:
                yield part
                part = []
            part.append(each)
        if part:
            yield part

    def _following(
        self, continuations: Sequence[Sequence[int]], mask: torch.Tensor, cache: Any
    ) -> list[list[TokenLogprob]]:
        """Of each continuation the log-probabilities of all tokens but the first; `cache` has the prompts."""
        fed = [list(ids[:-1]) for ids in continuations]
        found: list[list[TokenLogprob]] = [[] for _ in fed]
        width, stride = len(fed[0]), max(1, _MAX_LOGIT_ROWS // len(fed))
        for start in range(0, width, stride):
            piece = [ids[start : start + stride] for ids in fed]
            longest = max(map(len, piece))
            real = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in piece], device=mask.device)
            mask = torch.cat([mask, real], dim=1)
            padded = [ids + [0] * (longest - len(ids)) for ids in piece]
            logits = self._call.logits(padded, mask, cache, keep=longest)
            for row, ids in enumerate(piece):
                following = continuations[row][start + 1 : start + 1 + len(ids)]
                if ids:
                    found[row] += token_logprobs(logits[row, : len(ids)], following, 1)
        return found


def _with_shared_beginnings(prompts: Iterable[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """Prompts in groups that begin the same, long enough that it pays to compute that once; the others in one more."""
    groups: list[list[tuple[int, ...]]] = []
    for ids in sorted(prompts):
        if groups and common_prefix_length(groups[-1][0], ids) >= PASS_TOKENS:
            groups[-1].append(ids)
        else:
            groups.append([ids])
    alone = [group[0] for group in groups if len(group) == 1]
    return [group for group in groups if len(group) > 1] + ([alone] if alone else [])
