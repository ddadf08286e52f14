"""Near-duplicates: rows whose words are mostly the same, found by MinHash and locality-sensitive hashing.

Knows shingles and signatures. Knows nothing of lints or mixtures. Needs `camelid-core[quality]`.
Memory grows by about 2 KB a row; exact duplicates cost a hundred times less.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

from camelid_core.records import Record

from .optional_packages import require_extra

THRESHOLD = 0.8
"""Jaccard similarity of three-word shingles from which two rows are near-duplicates."""
_HASHES = 64
_SHINGLE = 3
# Scripts written without spaces count by the character, all others by the word.
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(f"[{_UNSPACED}]|[^\\W{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """Words in lower case; Chinese, Japanese and Thai by the character."""
    return _WORD.findall(text.lower())


class NearDuplicateIndex:
    """Keeps the MinHash signatures of rows and finds the first near-duplicate of a row."""

    def __init__(self, threshold: float = THRESHOLD) -> None:
        datasketch = require_extra("datasketch", "looking for near-duplicates")
        self._threshold = threshold
        self._minhash = datasketch.MinHash
        self._index = datasketch.MinHashLSH(threshold=threshold, num_perm=_HASHES)
        self._signatures: dict[int, tuple[object, int]] = {}

    def put(self, record: Record, value: int) -> int:
        """The value of an earlier near-duplicate; else -1, and the row is added."""
        signature = self._minhash(num_perm=_HASHES, hashfunc=zlib.crc32)
        signature.update_batch(list(_shingles(record)))
        for key in sorted(self._index.query(signature)):
            other, earlier = self._signatures[key]
            if signature.jaccard(other) >= self._threshold:
                return earlier
        key = len(self._signatures)
        self._index.insert(key, signature)
        self._signatures[key] = (signature, value)
        return -1


def _shingles(record: Record) -> Iterator[bytes]:
    for message in record.messages:
        tokens = [message.role, *words(message.text)]
        for start in range(max(1, len(tokens) - _SHINGLE + 1)):
            yield " ".join(tokens[start : start + _SHINGLE]).encode("utf-8", "surrogatepass")
