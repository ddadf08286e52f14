"""The prefix cache: keys and values of earlier prompts and answers, reused where a prompt begins the same.

Knows tokens, adapters and bytes. Knows nothing of models or requests. Keys and values depend on nothing that comes
after them, so one entry serves every prompt that shares a beginning with it, however long that is. The least recently
used entry is evicted when the bytes run out (LRU).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .kv_cache import RowKeysValues
from .memory_layout import free_bytes

_MAX_BYTES = 1 << 30

MIN_PREFIX_TOKENS = 8
"""Shorter prefixes are computed again: that costs less than looking up and copying."""


@dataclass(frozen=True, slots=True, eq=False)
class CachedPrefix:
    """Tokens, and their keys and values under an adapter."""

    adapter: str | None
    tokens: tuple[int, ...]
    keys_values: RowKeysValues

    @property
    def bytes(self) -> int:
        return sum(part.nbytes for pair in self.keys_values if pair is not None for part in pair)

    def covers(self, other: CachedPrefix) -> bool:
        """Whether the other's tokens are the beginning of these."""
        return self.adapter == other.adapter and self.tokens[: len(other.tokens)] == other.tokens


class PrefixCache:
    """Entries, the least recently used first; together at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._entries: list[CachedPrefix] = []

    @property
    def bytes(self) -> int:
        return sum(cached.bytes for cached in self._entries)

    def longest_match(self, adapter: str | None, tokens: Sequence[int]) -> tuple[int, CachedPrefix | None]:
        """How many of the first tokens are cached, and in which entry. The last token is left out: its logits are
        needed, so it is always computed."""
        wanted = tuple(tokens[:-1])
        length, best = MIN_PREFIX_TOKENS - 1, None
        for cached in self._entries:
            if cached.adapter == adapter and (common := common_prefix_length(cached.tokens, wanted)) > length:
                length, best = common, cached
        if best is None:
            return 0, None
        self._entries.remove(best)
        self._entries.append(best)
        return length, best

    def wants(self, adapter: str | None, tokens: Sequence[int], size: int) -> bool:
        """Whether to `add` an entry of so many bytes: it fits, and no other entry covers it."""
        wanted = tuple(tokens)
        covered = any(each.adapter == adapter and each.tokens[: len(wanted)] == wanted for each in self._entries)
        return len(wanted) >= MIN_PREFIX_TOKENS and size <= self.limit and not covered

    def add(self, new: CachedPrefix) -> None:
        """Add an entry in place of those that it covers; evict the least recently used ones if need be."""
        self._entries = [each for each in self._entries if not new.covers(each)]
        self._entries.append(new)
        while self.bytes > self.limit:
            del self._entries[0]

    def forget_adapter(self, adapter: str | None) -> None:
        """Drop the entries of an adapter."""
        self._entries = [each for each in self._entries if each.adapter != adapter]


def prefix_cache_bytes(device: torch.device) -> int:
    """Size of a prefix cache: a tenth of the free memory, and at most a gigabyte."""
    return min(free_bytes(device) // 10, _MAX_BYTES)


def common_prefix_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many first tokens two sequences have in common."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
