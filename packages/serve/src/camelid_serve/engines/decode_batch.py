"""Continuous batching on one model: prefill computes the KV cache of new prompts, and each decode step gives every
running row its next token.

Knows the model call, the attention mask, the KV cache and the prefix cache. Knows nothing of streams, threads or
clients. Rows are padded on the left, so that all end in the same column. A row of the batch is a slot: a new request
takes that of a finished one. The beginning of a prompt that the prefix cache has is not computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from camelid_core.errors import CamelidError

from camelid_serve.engine import FinishReason, NotFinite, Request, TokenLogprob

from .kv_cache import (
    bytes_per_token,
    cache_from_prefixes,
    clear_row,
    compact,
    copy_row,
    insert_rows,
    keeps_all_positions,
    new_cache,
)
from .logprobs import token_logprob
from .model_call import PASS_TOKENS, ModelCall, PrefixMatch
from .positions import dynamic_positions, forget_lengths, has_prefix_attention, native_length
from .prefix_cache import CachedPrefix, PrefixCache, prefix_cache_bytes
from .sampling import Sampler, sample, usable_rows

_MAX_PREFILL_TOKENS = {"cpu": 1536}
"""Most tokens, padding included, of one prefill pass, by device type. On a CPU larger passes leave the processor's
caches: a fifth slower at 6,000 tokens."""

_MAX_CONVERSATIONS = 32
"""With more rows than this in the batch, finished ones are not kept in the prefix cache: they are rows of a file
(batch prediction), and no next turn of a conversation follows."""


class DecodeRow:
    """One running request: its sampler, its tokens so far and how it ended. `limit` is its most new tokens."""

    def __init__(self, request: Request, limit: int) -> None:
        self.request = request
        self.limit = limit
        self.sampler = Sampler(request.sampling, request.ids)
        self.cancelled = False
        self.finish: FinishReason | None = None
        self.error: CamelidError | None = None
        self.token_logprob: TokenLogprob | None = None
        self.uncacheable = False
        self.tokens = list(request.ids)
        self.cached_tokens = 0
        """How many of `tokens` the KV cache holds."""
        self._tokens_left = limit

    def accept(self, token: int) -> int | None:
        """Account for a sampled token; returns it unless it ends the answer."""
        if self.cancelled:
            self.finish = "cancelled"
        elif token in self.request.stops:
            self.finish = "stop"
        else:
            self._tokens_left -= 1
            self.finish = "length" if self._tokens_left == 0 else None
            self.tokens.append(token)
            return token
        return None

    def fail(self) -> None:
        """End the answer: there are no logits to choose by."""
        self.finish, self.error, self.uncacheable = "failed", NotFinite(), True

    def keep_logprob(self, logits: torch.Tensor, index: int, token: int) -> None:
        """Keep the log-probability of `token`, if the request has `logprobs`."""
        if self.request.logprobs is not None:
            self.token_logprob = token_logprob(logits[index], token, self.request.logprobs)


class DecodeBatch:
    """`rows` decode together on one model. A finished one keeps its slot until a new row takes it, or until
    `evict_finished`."""

    def __init__(self, model: Any, prefix_cache: PrefixCache | None = None) -> None:
        self.rows: list[DecodeRow] = []
        self.prefix_cache = PrefixCache(prefix_cache_bytes(model.device)) if prefix_cache is None else prefix_cache
        self._model = model
        self._call = ModelCall(model)
        self._device = model.device
        self._cache = new_cache(model.config)
        self._keeps_all_positions = keeps_all_positions(self._cache)
        self._dynamic_rope = dynamic_positions(model)
        self._reuses_prefixes = (
            self._keeps_all_positions and native_length(model) is None and not has_prefix_attention(model)
        )
        self._mask = torch.zeros((0, 0), dtype=torch.long, device=self._device)
        self._last_tokens: list[int] = []

    @property
    def running(self) -> int:
        return sum(row.finish is None for row in self.rows)

    @property
    def width(self) -> int:
        """Columns of the KV cache, those of finished rows and of padding included."""
        return self._mask.shape[1]

    @property
    def accepts_rows(self) -> bool:
        """Whether rows can join now: KV caches with sliding windows or recurrent states take them only all at once."""
        return self._keeps_all_positions or not self.running

    def add(self, rows: Sequence[DecodeRow]) -> list[tuple[DecodeRow, int | None]]:
        """Prefill the prompts of new rows, all under one adapter; returns their first tokens."""
        self._store_finished()
        if not self.running:
            self._reset()
        elif self._keeps_all_positions:
            self._trim((), len(self.rows))
        prefixes = self._cached_prefixes(rows)
        lengths = [len(row.request.ids) - known for row, (known, _) in zip(rows, prefixes, strict=True)]
        groups = (
            _prefill_groups(lengths, _MAX_PREFILL_TOKENS.get(self._device.type))
            if self._keeps_all_positions
            else [range(len(rows))]
        )
        return [
            each for group in groups for each in self._prefill([rows[n] for n in group], [prefixes[n] for n in group])
        ]

    def step(self) -> list[tuple[DecodeRow, int | None]]:
        """One decode step: the next token of every running row."""
        self._mask = torch.cat([self._mask, self._mask.new_ones((len(self.rows), 1))], dim=1)
        # finished rows stay at their position: position tables end, and dynamic RoPE follows the longest row
        positions = torch.tensor([[row.cached_tokens] for row in self.rows], device=self._device)
        ids = [[token] for token in self._last_tokens]
        logits = self._call.logits(ids, self._mask, self._cache, positions)[:, -1]
        for row in self.rows:
            row.cached_tokens += row.finish is None
        self._last_tokens = sample(logits, [row.sampler for row in self.rows])
        accepted = self._accept_tokens(self.rows, self._last_tokens, logits)
        self._evict_failed()
        return accepted

    def evict_finished(self) -> None:
        """Free the slots of finished rows, and columns on the left that no running row attends to."""
        self._store_finished()
        count = self.running
        if count == 0:
            self._reset()
        if count == len(self.rows) or not self._keeps_all_positions:
            return
        free_slots = (index for index, row in enumerate(self.rows[:count]) if row.finish is not None)
        running = (index for index in range(count, len(self.rows)) if self.rows[index].finish is None)
        moves = list(zip(running, free_slots, strict=True))
        for source, target in moves:
            self.rows[target], self._last_tokens[target] = self.rows[source], self._last_tokens[source]
            self._mask[target] = self._mask[source]
        self._trim(moves, count)

    def _evict_failed(self) -> None:
        """Free the slots of failed rows at once: what is no number there would spoil the row that comes next, as
        masked columns count nothing times that."""
        failed = [index for index, row in enumerate(self.rows) if row.error is not None]
        if failed and self._keeps_all_positions:
            for index in failed:
                clear_row(self._cache, index)
            self.evict_finished()

    def forget_adapter(self, adapter: str | None) -> None:
        """Drop an adapter's entries of the prefix cache, and do not add those of its running rows."""
        self.prefix_cache.forget_adapter(adapter)
        for row in self.rows:
            row.uncacheable = row.uncacheable or row.request.adapter == adapter

    def _reset(self) -> None:
        self.rows, self._last_tokens = [], []
        self._cache = new_cache(self._model.config)
        self._mask = self._mask.new_zeros((0, 0))
        forget_lengths(self._dynamic_rope)

    def _trim(self, moves: Sequence[tuple[int, int]], count: int) -> None:
        """Keep the first `count` rows after `moves`, and of the columns those from the first that a running row has."""
        running = [index for index, row in enumerate(self.rows[:count]) if row.finish is None]
        columns = int(self._mask[running].any(0).long().argmax())
        compact(self._cache, moves, count, columns)
        self.rows, self._last_tokens, self._mask = (
            self.rows[:count],
            self._last_tokens[:count],
            self._mask[:count, columns:],
        )

    def _store_finished(self) -> None:
        """Add finished rows to the prefix cache, for the next turns of their conversations."""
        for index, row in enumerate(self.rows):
            if row.finish is None or not row.cached_tokens:
                continue
            tokens, row.cached_tokens = tuple(row.tokens[: row.cached_tokens]), 0
            if not self._reuses_prefixes or row.uncacheable or len(self.rows) > _MAX_CONVERSATIONS:
                continue
            if self.prefix_cache.wants(row.request.adapter, tokens, len(tokens) * bytes_per_token(self._cache)):
                columns = self._mask[index].nonzero()[: len(tokens), 0]
                self.prefix_cache.add(CachedPrefix(row.request.adapter, tokens, copy_row(self._cache, index, columns)))

    def _cached_prefixes(self, rows: Sequence[DecodeRow]) -> list[PrefixMatch]:
        """For each row, the longest beginning of its prompt that the prefix cache has; a beginning that all have in
        common is computed first."""
        if not self._reuses_prefixes:
            return [(0, None)] * len(rows)
        adapter, prompts = rows[0].request.adapter, [tuple(row.request.ids) for row in rows]
        shared = self._call.shared_prefix(self.prefix_cache, adapter, prompts)
        found = (self.prefix_cache.longest_match(adapter, prompt) for prompt in prompts)
        return [max(known, shared, key=lambda each: each[0]) for known in found]

    def _prefill(
        self, rows: Sequence[DecodeRow], prefixes: Sequence[PrefixMatch]
    ) -> list[tuple[DecodeRow, int | None]]:
        """Compute the rest of the prompts in one forward pass, sample the first tokens and let the rows join."""
        widths = [known for known, _ in prefixes]
        cache = cache_from_prefixes(
            self._model.config, [cached.keys_values if cached else None for _, cached in prefixes], widths
        )
        prompts = [list(row.request.ids[known:]) for row, known in zip(rows, widths, strict=True)]
        longest = max(map(len, prompts))
        lengths = list(map(len, prompts))
        mask = torch.cat([self._call.right_aligned_mask(widths), self._call.right_aligned_mask(lengths)], dim=1)
        logits = self._call.logits([[0] * (longest - len(ids)) + ids for ids in prompts], mask, cache)[:, -1]
        first = sample(logits, [row.sampler for row in rows])
        for row in rows:
            row.cached_tokens = len(row.request.ids)
        self._join(rows, first, cache, mask)
        accepted = self._accept_tokens(rows, first, logits)
        self._evict_failed()
        return accepted

    def _join(self, rows: Sequence[DecodeRow], first: Sequence[int], cache: Any, mask: torch.Tensor) -> None:
        """Let rows join the batch: in the slots of finished ones, then in new slots."""
        if not self.rows:
            self.rows, self._last_tokens, self._cache, self._mask = list(rows), list(first), cache, mask
            return
        free = [index for index, row in enumerate(self.rows) if row.finish is not None]
        slots = [*free, *range(len(self.rows), len(self.rows) + len(rows))][: len(rows)]
        for slot, row, token in zip(slots, rows, first, strict=True):
            self.rows[slot : slot + 1], self._last_tokens[slot : slot + 1] = [row], [token]
        insert_rows(self._cache, slots, cache)
        joined = self._mask.new_zeros((len(self.rows), max(self._mask.shape[1], mask.shape[1])))
        joined[: len(self._mask), joined.shape[1] - self._mask.shape[1] :] = self._mask
        joined[slots] = 0
        joined[slots, joined.shape[1] - mask.shape[1] :] = mask
        self._mask = joined

    @staticmethod
    def _accept_tokens(
        rows: Sequence[DecodeRow], tokens: Sequence[int], logits: torch.Tensor
    ) -> list[tuple[DecodeRow, int | None]]:
        accepted: list[tuple[DecodeRow, int | None]] = []
        for index, (row, token, usable) in enumerate(zip(rows, tokens, usable_rows(logits), strict=True)):
            if row.finish is None and not usable and not row.cancelled:
                row.fail()
                accepted.append((row, None))
            elif row.finish is None:
                row.keep_logprob(logits, index, token)
                accepted.append((row, row.accept(token)))
        return accepted


def _prefill_groups(lengths: Sequence[int], most: int | None) -> list[list[int]]:
    """Which rows share a prefill pass, the longest first; another pass begins where padding would take longer than
    that, and before one has more than `most` tokens."""
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    groups = [[order[0]]]
    for place, number in enumerate(order[1:], 1):
        longest = lengths[groups[-1][0]]
        padded = 4 * lengths[number] < 3 * longest and (longest - lengths[number]) * (len(order) - place) > PASS_TOKENS
        if padded or (most is not None and longest * (len(groups[-1]) + 1) > most):
            groups.append([])
        groups[-1].append(number)
    return groups
