"""Rows that decode together: prompts come in, each step gives every row its next token.

Knows the model call, the mask and the cache. Knows nothing of streams, threads or who asked.
Rows are padded on the left; what their prompts have in common at the start is computed once.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from camelid_serve.engine import Finish, Request, Scored

from .cache import append, copies, is_plain, new_cache, select, stack
from .choosing import Chooser, choose
from .positions import dynamic_positions, forget_lengths
from .scoring import scored

_WORTH_SHARING = 8
"""Tokens two prompts must have in common before computing them once pays."""


class Row:
    """One request on its way."""

    def __init__(self, request: Request, limit: int) -> None:
        self.request = request
        self.chooser = Chooser(request.sampling, request.ids)
        self.cancelled = False
        self.finish: Finish | None = None
        self.scored: Scored | None = None
        self._left = limit

    def take(self, token: int) -> int | None:
        """Account for a token; give it back unless it ends the answer."""
        if self.cancelled:
            self.finish = "cancelled"
        elif token in self.request.stops:
            self.finish = "stop"
        else:
            self._left -= 1
            self.finish = "length" if self._left == 0 else None
            return token
        return None

    def look(self, logits: torch.Tensor, index: int, token: int) -> None:
        """Keep what `token` was worth, where that was asked for."""
        if self.request.logprobs is not None:
            self.scored = scored(logits[index], token, self.request.logprobs)


class Batch:
    """`rows` decode together on one model under one adapter; finished ones leave at `compact`."""

    def __init__(self, model: Any) -> None:
        self.rows: list[Row] = []
        self._model = model
        self._device = model.device
        self._cache = new_cache(model.config)
        self._plain = is_plain(self._cache)
        self._dynamic = dynamic_positions(model)
        self._mask = torch.zeros((0, 0), dtype=torch.long, device=self._device)
        self._last: list[int] = []
        self._prefix: tuple[tuple[int, ...], Any] = ((), None)
        accepted = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._takes_keep = "logits_to_keep" in accepted

    @property
    def running(self) -> int:
        return sum(row.finish is None for row in self.rows)

    @property
    def open(self) -> bool:
        """Whether rows can be added now: caches with windows or states take them only all at once."""
        return self._plain or not self.running

    def add(self, rows: Sequence[Row]) -> list[tuple[Row, int | None]]:
        """Read the prompts of new rows; their first tokens."""
        self.compact()
        if not self.rows:
            forget_lengths(self._dynamic)
        cache, mask = self._shared_start([row.request.ids for row in rows])
        known = mask.shape[1]
        prompts = [list(row.request.ids[known:]) for row in rows]
        width = max(map(len, prompts))
        ids = [[0] * (width - len(prompt)) + prompt for prompt in prompts]
        attended = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        mask = torch.cat([mask, torch.tensor(attended, device=self._device)], dim=1)
        logits = self._forward(ids, mask, cache)
        if self.rows:
            append(self._cache, cache)
            self._mask = stack(self._mask[..., None], mask[..., None])[..., 0]
        else:
            self._cache, self._mask = cache, mask
        first = choose(logits, [row.chooser for row in rows])
        self.rows += rows
        self._last += first
        return self._taken(rows, first, logits)

    def step(self) -> list[tuple[Row, int | None]]:
        """The next token of every running row."""
        self._mask = torch.cat([self._mask, self._mask.new_ones((len(self.rows), 1))], dim=1)
        logits = self._forward([[token] for token in self._last], self._mask, self._cache)
        self._last = choose(logits, [row.chooser for row in self.rows])
        return self._taken(self.rows, self._last, logits)

    @staticmethod
    def _taken(rows: Sequence[Row], tokens: Sequence[int], logits: torch.Tensor) -> list[tuple[Row, int | None]]:
        taken = []
        for index, (row, token) in enumerate(zip(rows, tokens, strict=True)):
            if row.finish is None:
                row.look(logits, index, token)
                taken.append((row, row.take(token)))
        return taken

    def compact(self) -> None:
        """Let finished rows go, and columns that no row looks at any more."""
        kept = [index for index, row in enumerate(self.rows) if row.finish is None]
        if len(kept) == len(self.rows) or (kept and not self._plain):
            return
        self.rows = [self.rows[index] for index in kept]
        self._last = [self._last[index] for index in kept]
        if not kept:
            self._cache = new_cache(self._model.config)
            self._mask = self._mask.new_zeros((0, 0))
            return
        rows = torch.tensor(kept, device=self._device)
        columns = self._mask[rows].any(0).nonzero()[:, 0]
        select(self._cache, rows, columns)
        self._mask = self._mask[rows][:, columns]

    def _shared_start(self, prompts: Sequence[Sequence[int]]) -> tuple[Any, torch.Tensor]:
        """A cache for new rows that already holds the start all their prompts share, and its mask."""
        shared = _common(prompts, self._prefix[0]) if self._plain else ()
        if len(shared) < _WORTH_SHARING:
            return new_cache(self._model.config), self._mask.new_zeros((len(prompts), 0))
        if shared != self._prefix[0]:
            cache = new_cache(self._model.config)
            self._forward([list(shared)], self._mask.new_ones((1, len(shared))), cache)
            self._prefix = shared, cache
        rows = copies(self._prefix[1], self._model.config, len(prompts))
        return rows, self._mask.new_ones((len(prompts), len(shared)))

    def _forward(self, ids: list[list[int]], mask: torch.Tensor, cache: Any) -> torch.Tensor:
        """Logits after the last token of each row."""
        options: dict[str, Any] = {"logits_to_keep": 1} if self._takes_keep else {}
        if self._takes_positions:
            options["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)[:, -len(ids[0]) :]
        output = self._model(
            input_ids=torch.tensor(ids, device=self._device),
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **options,
        )
        return output.logits[:, -1]


def _common(prompts: Sequence[Sequence[int]], known: tuple[int, ...]) -> tuple[int, ...]:
    """The start that all prompts share, one token short of the shortest; `known` if they all begin with it."""
    if known and all(len(prompt) > len(known) and tuple(prompt[: len(known)]) == known for prompt in prompts):
        return known
    if len(prompts) == 1:
        return ()
    first, last = min(map(tuple, prompts)), max(map(tuple, prompts))
    limit = min(map(len, prompts)) - 1
    length = next((n for n in range(limit) if first[n] != last[n]), limit)
    return first[:length]
