"""The KV cache of a batch (`past_key_values`): it grows in place, rows are inserted and removed, columns are dropped.

Knows Transformers' cache classes. Knows nothing of tokens, requests or sampling.
A column is a position in the cache, the last being the newest; the attention mask says which columns a row attends to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

_EXTRA_COLUMNS = 64
"""Columns allocated ahead: one copy of the whole KV cache per 64 tokens instead of one per token."""

RowKeysValues = Sequence[tuple[torch.Tensor, torch.Tensor] | None]
"""Keys and values of one row, for each layer; None for a layer that keeps none of its own."""


class GrowingLayer(DynamicLayer):
    """One layer's keys and values as a window of larger buffers.

    Columns that no row attends to any more are dropped on the left, new ones are added on the right, without a copy.
    """

    def __init__(self) -> None:
        super().__init__()
        self.keys: Any = None
        self.values: Any = None
        self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None
        self._first = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        width = self.get_seq_length()
        self._resize_window(len(key_states), 0, width + key_states.shape[-2], (key_states, value_states))
        self.keys[:, :, width:] = key_states
        self.values[:, :, width:] = value_states
        return self.keys, self.values

    def insert_rows(self, rows: Sequence[int], keys: torch.Tensor, values: torch.Tensor) -> None:
        """Set the last columns of these rows; the layer gets more rows and columns if these need them."""
        count, width = len(self.keys), self.get_seq_length()
        more = max(0, keys.shape[-2] - width)
        self._resize_window(max(count, max(rows) + 1), more, width + more, (keys, values))
        where = torch.tensor(rows, device=keys.device)
        self.keys[:, :, -keys.shape[-2] :].index_copy_(0, where, keys)
        self.values[:, :, -keys.shape[-2] :].index_copy_(0, where, values)

    def compact(self, moves: Iterable[tuple[int, int]], count: int, columns: int) -> None:
        """Copy rows over others, then keep the first `count` rows, without their first `columns` columns."""
        for part in (self.keys, self.values):
            for source, target in moves:
                part[target] = part[source]
        self._first += columns
        self.keys, self.values = self.keys[:count, :, columns:], self.values[:count, :, columns:]

    def hold(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Hold these without a copy; they are copied when columns are added."""
        self.lazy_initialization(keys, values)
        self.keys, self.values, self._buffers = keys, values, None

    def _resize_window(self, count: int, left: int, width: int, like: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Make the window `count` rows high and `width` columns wide, `left` of them before the first one now."""
        if self._buffers is None or not self._fits(count, left, width):
            self._reallocate(count, left, width, like)
        else:
            self._first -= left
        window = slice(self._first, self._first + width)
        self.keys, self.values = (buffer[:count, :, window] for buffer in self._buffers or ())

    def _fits(self, count: int, left: int, width: int) -> bool:
        rows, _, columns, _ = self._buffers[0].shape  # type: ignore[index]
        return count <= rows and left <= self._first and self._first - left + width <= columns

    def _reallocate(self, count: int, left: int, width: int, like: tuple[torch.Tensor, torch.Tensor]) -> None:
        buffers = []
        for old, new in zip((self.keys, self.values), like, strict=True):
            # zeros: masked columns are multiplied by zero, which gives zero for finite numbers alone
            buffer = new.new_zeros((count, new.shape[1], width + _EXTRA_COLUMNS, new.shape[-1]))
            if old.numel():
                buffer[: len(old), :, left : left + old.shape[-2]] = old[:count]
            buffers.append(buffer)
        self._buffers, self._first = (buffers[0], buffers[1]), 0


def new_cache(config: Any) -> DynamicCache:
    """An empty KV cache; `keeps_all_positions` says whether the functions below take it."""
    cache = DynamicCache(config=config)
    if cache.layers and all(type(layer) is DynamicLayer for layer in cache.layers):
        cache.layers = [GrowingLayer() for _ in cache.layers]
    return cache


def keeps_all_positions(cache: DynamicCache) -> bool:
    """Whether every layer keeps every position: no sliding windows, no recurrent state."""
    return bool(cache.layers) and all(isinstance(layer, GrowingLayer) for layer in cache.layers)


def insert_rows(cache: DynamicCache, rows: Sequence[int], other: DynamicCache) -> None:
    """Put the rows of `other` at these rows of `cache`, right-aligned."""
    for layer, more in zip(cache.layers, other.layers, strict=True):
        if more.is_initialized:
            layer.insert_rows(rows, more.keys, more.values)


def compact(cache: DynamicCache, moves: Sequence[tuple[int, int]], count: int, columns: int) -> None:
    """Copy rows over others, then keep the first `count` rows, without their first `columns` columns."""
    for layer in cache.layers:
        if layer.is_initialized:
            layer.compact(moves, count, columns)


def clear_row(cache: DynamicCache, row: int) -> None:
    """Set the row to zero."""
    for layer in cache.layers:
        if layer.is_initialized:
            layer.keys[row].zero_()
            layer.values[row].zero_()


def bytes_per_token(cache: DynamicCache) -> int:
    """Memory that one token of one row takes in the KV cache."""
    held = [part for layer in cache.layers if layer.is_initialized for part in (layer.keys, layer.values)]
    return sum(part[:1, :, :1].nbytes for part in held)


def copy_row(cache: DynamicCache, row: int, columns: torch.Tensor) -> RowKeysValues:
    """A copy of these columns of one row."""
    return [
        tuple(part[row : row + 1].index_select(2, columns) for part in (layer.keys, layer.values))
        if layer.is_initialized
        else None
        for layer in cache.layers
    ]


def select_rows(cache: DynamicCache, config: Any, rows: torch.Tensor) -> DynamicCache:
    """Another KV cache with copies of these rows, in this order; one may come several times."""
    selected = new_cache(config)
    for layer, other in zip(cache.layers, selected.layers, strict=True):
        if layer.is_initialized:
            other.hold(layer.keys.index_select(0, rows), layer.values.index_select(0, rows))
    return selected


def cache_from_prefixes(config: Any, prefixes: Sequence[RowKeysValues | None], widths: Sequence[int]) -> DynamicCache:
    """A KV cache whose rows hold the first `widths` columns of these prefixes, right-aligned; None holds nothing."""
    cache = new_cache(config)
    known = next((prefix for prefix in prefixes if prefix is not None), None)
    if known is None:
        return cache
    alike = len(set(map(id, prefixes))) == 1 and len(set(widths)) == 1
    for number, (layer, pair) in enumerate(zip(cache.layers, known, strict=True)):
        if pair is None:
            continue
        if alike:
            layer.hold(*(part[:, :, : widths[0]].expand(len(prefixes), -1, -1, -1) for part in pair))
        else:
            rows = [prefix[number] if prefix else None for prefix in prefixes]
            layer.hold(
                *(_right_aligned([row[side] if row else None for row in rows], widths, pair[side]) for side in (0, 1))
            )
    return cache


def _right_aligned(rows: Sequence[torch.Tensor | None], widths: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    longest = max(widths)
    result = like.new_zeros((len(rows), like.shape[1], longest, like.shape[-1]))
    for target, row, width in zip(result, rows, widths, strict=True):
        if row is not None:
            target[:, longest - width :] = row[0, :, :width]
    return result
