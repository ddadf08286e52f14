"""Texts that were read before: keys and values of their tokens, so that what begins in the same way is read once.

Knows tokens, adapters and bytes. Knows nothing of models or requests. Keys and values depend on nothing that comes
after them, so what is kept of one text serves every text that has its start, however long that is. What was used
longest ago goes when the bytes run out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .kv_cache import RowKeysValues
from .memory_layout import free_bytes

_MAX_BYTES = 1 << 30

MIN_PREFIX_TOKENS = 8
"""Tokens below which reading again costs less than looking up and copying."""


@dataclass(frozen=True, slots=True, eq=False)
class CachedPrefix:
    """A text and its keys and values under an adapter."""

    adapter: str | None
    tokens: tuple[int, ...]
    keys_values: RowKeysValues

    @property
    def bytes(self) -> int:
        return sum(part.nbytes for pair in self.keys_values if pair is not None for part in pair)

    def covers(self, other: CachedPrefix) -> bool:
        """Whether the other text is the start of this one."""
        return self.adapter == other.adapter and self.tokens[: len(other.tokens)] == other.tokens


class PrefixCache:
    """Kept texts, the one used longest ago first; together at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._entries: list[CachedPrefix] = []

    @property
    def bytes(self) -> int:
        return sum(cached.bytes for cached in self._entries)

    def longest_match(self, adapter: str | None, tokens: Sequence[int]) -> tuple[int, CachedPrefix | None]:
        """How many of the first tokens are known, and from which text. The last one never is: its logits are wanted."""
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
        """Whether to `add` a text of so many bytes: it fits, and no kept text has it already."""
        text = tuple(tokens)
        covered = any(each.adapter == adapter and each.tokens[: len(text)] == text for each in self._entries)
        return len(text) >= MIN_PREFIX_TOKENS and size <= self.limit and not covered

    def add(self, new: CachedPrefix) -> None:
        """Keep a text in place of those it begins with, and of what was used longest ago if need be."""
        self._entries = [each for each in self._entries if not new.covers(each)]
        self._entries.append(new)
        while self.bytes > self.limit:
            del self._entries[0]

    def forget_adapter(self, adapter: str | None) -> None:
        """Drop what was read under an adapter."""
        self._entries = [each for each in self._entries if each.adapter != adapter]


def prefix_cache_bytes(device: torch.device) -> int:
    """Bytes to spend on what may be asked again: a tenth of what is free, and at most a gigabyte."""
    return min(free_bytes(device) // 10, _MAX_BYTES)


def common_prefix_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two texts have in common before they part."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
