"""Keys and values of a batch of rows: they grow in place, and rows and columns come and go.

Knows transformers' cache classes. Knows nothing of tokens, requests or sampling.
A column is a position in the cache; the batch's mask says which columns a row may look at.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

_SLACK = 64
"""Columns allocated ahead: one copy of the whole cache per 64 tokens instead of one per token."""


class GrowingLayer(DynamicLayer):
    """One layer's keys and values as views of larger buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: Any = None
        self.values: Any = None
        self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if self._buffers is None or end > self._buffers[0].shape[-2]:
            self._buffers = (self._grown(self.keys, key_states, end), self._grown(self.values, value_states, end))
        self._buffers[0][:, :, start:end] = key_states
        self._buffers[1][:, :, start:end] = value_states
        self.keys, self.values = (buffer[:, :, :end] for buffer in self._buffers)
        return self.keys, self.values

    def set(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Replace what is held."""
        self.lazy_initialization(keys, values)
        self.keys, self.values, self._buffers = keys, values, None

    @staticmethod
    def _grown(old: torch.Tensor, new: torch.Tensor, end: int) -> torch.Tensor:
        buffer = new.new_empty((*new.shape[:2], end + _SLACK, new.shape[-1]))
        if old.numel():
            buffer[:, :, : old.shape[-2]] = old
        return buffer


def new_cache(config: Any) -> DynamicCache:
    """An empty cache; `is_plain` says whether the functions below take it."""
    cache = DynamicCache(config=config)
    if cache.layers and all(type(layer) is DynamicLayer for layer in cache.layers):
        cache.layers = [GrowingLayer() for _ in cache.layers]
    return cache


def is_plain(cache: DynamicCache) -> bool:
    """Whether every layer keeps every position: no sliding windows, no recurrent state."""
    return bool(cache.layers) and all(isinstance(layer, GrowingLayer) for layer in cache.layers)


def select(cache: DynamicCache, rows: torch.Tensor, columns: torch.Tensor) -> None:
    """Keep only these rows and columns."""
    for layer in _held(cache):
        layer.set(*(part.index_select(0, rows).index_select(2, columns) for part in (layer.keys, layer.values)))


def copies(cache: DynamicCache, config: Any, count: int) -> DynamicCache:
    """A cache with the one row of `cache`, `count` times."""
    copy = new_cache(config)
    for source, target in zip(cache.layers, copy.layers, strict=True):
        if source.is_initialized:
            target.set(source.keys.expand(count, -1, -1, -1), source.values.expand(count, -1, -1, -1))
    return copy


def append(cache: DynamicCache, other: DynamicCache) -> None:
    """Add the rows of `other` below, both padded on the left to one length."""
    for layer, more in zip(cache.layers, other.layers, strict=True):
        if more.is_initialized:
            layer.set(stack(layer.keys, more.keys), stack(layer.values, more.values))


def stack(upper: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
    """Rows of both, padded with zeros on the left of the second last dimension."""
    width = max(upper.shape[-2], lower.shape[-2])
    result = upper.new_zeros((upper.shape[0] + lower.shape[0], *upper.shape[1:-2], width, upper.shape[-1]))
    result[: len(upper), ..., width - upper.shape[-2] :, :] = upper
    result[len(upper) :, ..., width - lower.shape[-2] :, :] = lower
    return result


def _held(cache: DynamicCache) -> list[Any]:
    return [layer for layer in cache.layers if layer.is_initialized]
