"""Keys for exact deduplication: when two rows are the same, and a compact hash map of keys.

Knows normal forms and hashes. Knows nothing of files, lints or mixtures.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Callable
from hashlib import blake2b
from zlib import crc32

from camelid_core.records import Record

_MASK = (1 << 64) - 1


def normal(text: str) -> str:
    """White space runs as one space, composed characters as one."""
    joined = " ".join(text.split())
    return joined if joined.isascii() else unicodedata.normalize("NFC", joined)


def normal_turns(record: Record) -> list[str]:
    """Each turn in its normal form: role, content and context."""
    return [
        f"{message.role}\x1f{normal(message.content)}\x1f{normal(message.context)}"
        if message.context
        else f"{message.role}\x1f{normal(message.content)}"
        for message in record.messages
    ]


Normalise = Callable[[Record], list[str]]


class NormalTurnsCache:
    """`normal_turns` that keeps those of the last record: one pass often wants several keys of each row."""

    __slots__ = ("_record", "_turns")

    def __init__(self) -> None:
        self._record: Record | None = None
        self._turns: list[str] = []

    def __call__(self, record: Record) -> list[str]:
        if self._record is not record:
            self._turns = normal_turns(record)
            self._record = record
        return self._turns


def fingerprint(record: Record, normalise: Normalise = normal_turns) -> bytes:
    """16 bytes that two conversations share when they differ at most in white space and Unicode composition."""
    text = "\x1e".join(normalise(record))
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def prompt_key(record: Record, normalise: Normalise = normal_turns) -> int:
    """64 bits that two rows share when their prompts are the same: white space, composition and case aside. A row
    without a prompt, such as a text, goes by the whole of it."""
    return _folded_key(normalise(record)[: len(record.prompt) or None])


def conversation_key(record: Record, normalise: Normalise = normal_turns) -> int:
    """64 bits that two rows share when their conversations begin alike: up to the first question. Rows of one
    conversation that was cut into a row per turn have one key; texts and rows of one question have their `prompt_key`.
    """
    last = max(0, len(record.prompt) - 1)
    first = next((at for at, message in enumerate(record.messages) if message.role == "user"), last)
    return _folded_key(normalise(record)[: first + 1])


def _folded_key(turns: list[str]) -> int:
    text = "\x1e".join(turns).casefold()
    return int_from_digest(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def record_key(record: Record, normalise: Normalise = normal_turns) -> int:
    """The first 64 bits of the fingerprint, as `KeyMap` takes them."""
    return int_from_digest(fingerprint(record, normalise)[:8])


def answer_key(record: Record, normalise: Normalise = normal_turns) -> int:
    """32 bits that two answers share when they differ at most in white space and Unicode composition."""
    turns = normalise(record)
    return crc32(turns[-1].encode("utf-8", "surrogatepass")) if turns else 0


def int_from_digest(digest: bytes) -> int:
    return int.from_bytes(digest, "little")


def seeded_hash(key: int, seed: int) -> int:
    """A hash of `key` and `seed` over 64 bits (splitmix64): the same on every machine, unrelated for every seed."""
    value = (key + (seed + 1) * 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class KeyMap:
    """64-bit key → the number that came with it first. 12 bytes a slot (16 if `wide`): a dict needs ten times that.

    Open addressing with linear probing, never more than two thirds full.
    """

    __slots__ = ("_code", "_count", "_keys", "_mask", "_values")

    def __init__(self, wide: bool = False) -> None:
        self._code = "Q" if wide else "I"
        self._reserve(1 << 10)

    def __len__(self) -> int:
        return self._count

    def put(self, key: int, value: int) -> int:
        """Store `value` (below 2³², or 2⁶⁴ if wide) for a new key and return -1; the earlier value for a known key."""
        key = key or 1  # zero marks a free slot
        keys, mask = self._keys, self._mask
        place = key & mask
        while found := keys[place]:
            if found == key:
                return self._values[place]
            place = (place + 1) & mask
        keys[place] = key
        self._values[place] = value
        self._count += 1
        if 3 * self._count > 2 * (mask + 1):
            self._grow()
        return -1

    def get(self, key: int) -> int:
        """The value that came with `key` first, else -1."""
        key = key or 1
        keys, mask = self._keys, self._mask
        place = key & mask
        while found := keys[place]:
            if found == key:
                return self._values[place]
            place = (place + 1) & mask
        return -1

    def _reserve(self, slots: int) -> None:
        self._mask = slots - 1
        self._keys = array("Q", bytes(8 * slots))
        self._values = array(self._code, bytes(slots * array(self._code).itemsize))
        self._count = 0

    def _grow(self) -> None:
        keys, values = self._keys, self._values
        self._reserve(2 * len(keys))
        for key, value in zip(keys, values, strict=True):
            if key:
                self.put(key, value)
