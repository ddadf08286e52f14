"""The slots of the KV cache: which tokens each holds, and which prefix of them the next prompt can reuse.

Knows tokens and slots. Knows nothing of requests. A finished sequence stays until its slot is needed (prefix cache): of
a conversation's next turn, or a prompt that begins like another, only the tokens after the common prefix are computed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from .model import GgufModel

_MIN_PREFIX_TOKENS = 8
"""Shorter common prefixes are not worth reusing."""


class CacheSlot:
    """`tokens` are those in the KV cache; `in_use` says that a running request has this slot."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.tokens: list[int] = []
        self.in_use = False
        self.last_used = 0


class CacheSlots:
    """All slots of a model's KV cache but the spare one."""

    def __init__(self, model: GgufModel, count: int) -> None:
        self._model = model
        self._evicts_whole = model.evicts_whole_sequences
        self._slots = [CacheSlot(number) for number in range(count)]
        self._clock = itertools.count(1)

    def take(self, ids: Sequence[int]) -> CacheSlot | None:
        """A free slot for a prompt, holding its longest cached prefix; None while no slot is free."""
        free = [slot for slot in self._slots if not slot.in_use]
        if not free:
            return None
        best = max(self._slots, key=lambda slot: (_common_prefix_length(slot.tokens, ids), not slot.in_use))
        known = 0 if self._evicts_whole else _common_prefix_length(best.tokens, ids)
        if known < _MIN_PREFIX_TOKENS or best.in_use:
            slot = min(free, key=lambda each: (bool(each.tokens), each.last_used))
            self.clear(slot)
        else:
            slot = best
            self._truncate(slot, known)
        if best.in_use and known >= _MIN_PREFIX_TOKENS:
            self._model.copy_prefix(best.number, slot.number, known)
            slot.tokens = list(best.tokens[:known])
        slot.in_use, slot.last_used = True, next(self._clock)
        return slot

    def release(self, slot: CacheSlot) -> None:
        """Free a finished request's slot. Its tokens stay cached until their memory is needed."""
        slot.in_use, slot.last_used = False, next(self._clock)

    def clear(self, slot: CacheSlot) -> None:
        """Evict a slot's tokens and free it."""
        self._truncate(slot, 0)
        slot.in_use = False

    def evict_oldest(self) -> bool:
        """Evict the sequence that finished longest ago; False if all cached tokens belong to running requests."""
        done = [slot for slot in self._slots if slot.tokens and not slot.in_use]
        if done:
            self.clear(min(done, key=lambda slot: slot.last_used))
        return bool(done)

    def clear_all(self) -> None:
        self._model.evict_all()
        for slot in self._slots:
            slot.tokens, slot.in_use = [], False

    def _truncate(self, slot: CacheSlot, start: int) -> None:
        if len(slot.tokens) > start:
            self._model.evict(slot.number, start)
            del slot.tokens[start:]


def _common_prefix_length(tokens: Sequence[int], ids: Sequence[int]) -> int:
    """Length of the common prefix, the last of `ids` left out: its logits are needed, so it is always computed."""
    limit = min(len(tokens), len(ids) - 1)
    return next((index for index in range(limit) if tokens[index] != ids[index]), limit)
