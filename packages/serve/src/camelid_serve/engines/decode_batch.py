"""Rows that decode together: prompts come in, each step gives every row its next token.

Knows the model call, the mask and the cache. Knows nothing of streams, threads or who asked.
Rows are padded on the left, and end together. What a prompt begins with is not read again if it was read before.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from camelid_serve.engine import Finish, Request, Scored

from .kv_cache import column_bytes, drop, is_plain, new_cache, put, start_of, started
from .logprobs import scored
from .positions import dynamic_positions, forget_lengths, native_length
from .prefix_cache import Kept, Prefixes, common_start, room_for
from .sampling import Chooser, choose

_PASS = 64
"""Tokens that cost more to read than one more pass through the model."""

_AT_ONCE = {"cpu": 1536}
"""Tokens, padding included, that are read in one pass where larger ones leave the caches: a fifth slower at 6,000."""

_TALKS = 32
"""Of more rows than this at once nobody waits to go on: they are a file's, and keeping what they read is wasted."""

_Known = tuple[int, Kept | None]
"""How many of a prompt's first tokens were read before, and where they are."""


class Row:
    """One request on its way."""

    def __init__(self, request: Request, limit: int) -> None:
        self.request = request
        self.limit = limit
        self.chooser = Chooser(request.sampling, request.ids)
        self.cancelled = False
        self.finish: Finish | None = None
        self.scored: Scored | None = None
        self.forgotten = False
        self.tokens = list(request.ids)
        self.read = 0
        """How many of `tokens` the cache holds."""
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
            self.tokens.append(token)
            return token
        return None

    def look(self, logits: torch.Tensor, index: int, token: int) -> None:
        """Keep what `token` was worth, where that was asked for."""
        if self.request.logprobs is not None:
            self.scored = scored(logits[index], token, self.request.logprobs)


class Batch:
    """`rows` decode together on one model. A finished one stays until another takes its place, or `compact`."""

    def __init__(self, model: Any, prefixes: Prefixes | None = None) -> None:
        self.rows: list[Row] = []
        self.prefixes = Prefixes(room_for(model.device)) if prefixes is None else prefixes
        self._model = model
        self._device = model.device
        self._cache = new_cache(model.config)
        self._plain = is_plain(self._cache)
        self._dynamic = dynamic_positions(model)
        self._shares = self._plain and native_length(model) is None
        self._mask = torch.zeros((0, 0), dtype=torch.long, device=self._device)
        self._last: list[int] = []
        accepted = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._takes_keep = "logits_to_keep" in accepted

    @property
    def running(self) -> int:
        return sum(row.finish is None for row in self.rows)

    @property
    def width(self) -> int:
        """Columns that are attended to, of finished rows and padding too."""
        return self._mask.shape[1]

    @property
    def open(self) -> bool:
        """Whether rows can be added now: caches with windows or states take them only all at once."""
        return self._plain or not self.running

    def add(self, rows: Sequence[Row]) -> list[tuple[Row, int | None]]:
        """Read the prompts of new rows, all under one adapter; their first tokens."""
        self._keep_finished()
        if not self.running:
            self._clear()
        elif self._plain:
            self._drop((), len(self.rows))
        starts = self._starts(rows)
        lengths = [len(row.request.ids) - known for row, (known, _) in zip(rows, starts, strict=True)]
        groups = _groups(lengths, _AT_ONCE.get(self._device.type)) if self._plain else [range(len(rows))]
        return [each for group in groups for each in self._read([rows[n] for n in group], [starts[n] for n in group])]

    def step(self) -> list[tuple[Row, int | None]]:
        """The next token of every running row."""
        self._mask = torch.cat([self._mask, self._mask.new_ones((len(self.rows), 1))], dim=1)
        # finished rows go no further: a table of positions ends, and the angles of all may be those of the farthest
        positions = torch.tensor([[row.read] for row in self.rows], device=self._device)
        logits = self._forward([[token] for token in self._last], self._mask, self._cache, positions)
        for row in self.rows:
            row.read += row.finish is None
        self._last = choose(logits, [row.chooser for row in self.rows])
        return self._taken(self.rows, self._last, logits)

    def compact(self) -> None:
        """Let finished rows go, and columns on the left that no row looks at any more."""
        self._keep_finished()
        count = self.running
        if count == 0:
            self._clear()
        if count == len(self.rows) or not self._plain:
            return
        holes = (index for index, row in enumerate(self.rows[:count]) if row.finish is not None)
        late = (index for index in range(count, len(self.rows)) if self.rows[index].finish is None)
        moves = list(zip(late, holes, strict=True))
        for source, target in moves:
            self.rows[target], self._last[target] = self.rows[source], self._last[source]
            self._mask[target] = self._mask[source]
        self._drop(moves, count)

    def forget(self, adapter: str | None) -> None:
        """Drop what was read under an adapter, and do not keep what is being read."""
        self.prefixes.forget(adapter)
        for row in self.rows:
            row.forgotten = row.forgotten or row.request.adapter == adapter

    def _clear(self) -> None:
        self.rows, self._last = [], []
        self._cache = new_cache(self._model.config)
        self._mask = self._mask.new_zeros((0, 0))
        forget_lengths(self._dynamic)

    def _drop(self, moves: Sequence[tuple[int, int]], count: int) -> None:
        """Keep the first `count` rows after `moves`, and of the columns those from the first that a running row has."""
        running = [index for index, row in enumerate(self.rows[:count]) if row.finish is None]
        columns = int(self._mask[running].any(0).long().argmax())
        drop(self._cache, moves, count, columns)
        self.rows, self._last, self._mask = self.rows[:count], self._last[:count], self._mask[:count, columns:]

    def _keep_finished(self) -> None:
        """Remember what finished rows read, for the next turns of their conversations."""
        for index, row in enumerate(self.rows):
            if row.finish is None or not row.read:
                continue
            tokens, row.read = tuple(row.tokens[: row.read]), 0
            if not self._shares or row.forgotten or len(self.rows) > _TALKS:
                continue
            if self.prefixes.wants(row.request.adapter, tokens, len(tokens) * column_bytes(self._cache)):
                columns = self._mask[index].nonzero()[: len(tokens), 0]
                self.prefixes.add(Kept(row.request.adapter, tokens, start_of(self._cache, index, columns)))

    def _starts(self, rows: Sequence[Row]) -> list[_Known]:
        """For each row, how much of its prompt is known and from where; what all have in common is read first."""
        if not self._shares:
            return [(0, None)] * len(rows)
        adapter, prompts = rows[0].request.adapter, [tuple(row.request.ids) for row in rows]
        shared = self._shared(adapter, prompts)
        found = (self.prefixes.longest(adapter, prompt) for prompt in prompts)
        return [max(known, shared, key=lambda each: each[0]) for known in found]

    def _shared(self, adapter: str | None, prompts: Sequence[tuple[int, ...]]) -> _Known:
        """What all prompts begin with, read once if it was not before."""
        length = min([common_start(prompts[0], prompt[:-1]) for prompt in prompts])
        known, kept = self.prefixes.longest(adapter, prompts[0][: length + 1])
        if (length - known) * (len(prompts) - 1) < _PASS:
            return known, kept
        tokens = prompts[0][:length]
        cache = started(self._model.config, [kept.start if kept else None], [known])
        self._forward([list(tokens[known:])], self._mask.new_ones((1, length)), cache)
        new = Kept(adapter, tokens, start_of(cache, 0, torch.arange(length, device=self._device)))
        if self.prefixes.wants(adapter, tokens, new.bytes):
            self.prefixes.add(new)
        return length, new

    def _read(self, rows: Sequence[Row], starts: Sequence[_Known]) -> list[tuple[Row, int | None]]:
        widths = [known for known, _ in starts]
        cache = started(self._model.config, [kept.start if kept else None for _, kept in starts], widths)
        prompts = [list(row.request.ids[known:]) for row, known in zip(rows, widths, strict=True)]
        longest = max(map(len, prompts))
        mask = torch.cat([self._ends(widths), self._ends(list(map(len, prompts)))], dim=1)
        logits = self._forward([[0] * (longest - len(ids)) + ids for ids in prompts], mask, cache)
        first = choose(logits, [row.chooser for row in rows])
        for row in rows:
            row.read = len(row.request.ids)
        self._place(rows, first, cache, mask)
        return self._taken(rows, first, logits)

    def _ends(self, widths: Sequence[int]) -> torch.Tensor:
        """A mask of rows whose last so many columns count."""
        longest = max(widths)
        columns = torch.arange(longest, device=self._device)
        return (columns >= longest - torch.tensor(widths, device=self._device)[:, None]).long()

    def _place(self, rows: Sequence[Row], first: Sequence[int], cache: Any, mask: torch.Tensor) -> None:
        """Let rows join: in the place of finished ones, then below."""
        if not self.rows:
            self.rows, self._last, self._cache, self._mask = list(rows), list(first), cache, mask
            return
        free = [index for index, row in enumerate(self.rows) if row.finish is not None]
        places = [*free, *range(len(self.rows), len(self.rows) + len(rows))][: len(rows)]
        for place, row, token in zip(places, rows, first, strict=True):
            self.rows[place : place + 1], self._last[place : place + 1] = [row], [token]
        put(self._cache, places, cache)
        joined = self._mask.new_zeros((len(self.rows), max(self._mask.shape[1], mask.shape[1])))
        joined[: len(self._mask), joined.shape[1] - self._mask.shape[1] :] = self._mask
        joined[places] = 0
        joined[places, joined.shape[1] - mask.shape[1] :] = mask
        self._mask = joined

    @staticmethod
    def _taken(rows: Sequence[Row], tokens: Sequence[int], logits: torch.Tensor) -> list[tuple[Row, int | None]]:
        taken = []
        for index, (row, token) in enumerate(zip(rows, tokens, strict=True)):
            if row.finish is None:
                row.look(logits, index, token)
                taken.append((row, row.take(token)))
        return taken

    def _forward(
        self, ids: list[list[int]], mask: torch.Tensor, cache: Any, positions: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits after the last token of each row. Positions are those that the mask counts, unless they are given."""
        options: dict[str, Any] = {"logits_to_keep": 1} if self._takes_keep else {}
        if self._takes_positions:
            counted = (mask.cumsum(-1) - 1).clamp(min=0)[:, -len(ids[0]) :] if positions is None else positions
            options["position_ids"] = counted
        output = self._model(
            input_ids=torch.tensor(ids, device=self._device),
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **options,
        )
        return output.logits[:, -1]


def _groups(lengths: Sequence[int], most: int | None) -> list[list[int]]:
    """Which rows to read together, the longest first; another pass begins where padding would take longer than that,
    and before one has more than `most` tokens."""
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    groups = [[order[0]]]
    for place, number in enumerate(order[1:], 1):
        longest = lengths[groups[-1][0]]
        padded = 4 * lengths[number] < 3 * longest and (longest - lengths[number]) * (len(order) - place) > _PASS
        if padded or (most is not None and longest * (len(groups[-1]) + 1) > most):
            groups.append([])
        groups[-1].append(number)
    return groups
