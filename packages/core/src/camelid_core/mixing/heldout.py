"""Held-out split: which rows are held out, in whole clusters of duplicates, so that no held-out row is trained on.

Knows keys and hashes. Knows nothing of files, weights or templates.

A cluster is all rows whose conversations begin with the same question (`quality.conversation_key`), whichever source
they are in: copies, other answers to one prompt, and conversations stored as a row per turn. It is held out when a
seeded hash of its key is among the lowest: one pass, and memory only for those.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from camelid_core.quality.row_keys import Normalise, conversation_key, normal_turns, seeded_hash
from camelid_core.records import Record

SHARE = 10
"""At most one cluster in this many is held out."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The held-out rows, one for each cluster; `keys` of their clusters; `places` of all rows in those clusters."""

    records: list[Record] = field(default_factory=list)
    keys: frozenset[int] = frozenset()
    places: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Cluster:
    record: Record
    places: list[tuple[int, int]]


class HeldOutSelection:
    """Selects exactly `min(count, clusters // 10)` clusters of the rows that are added."""

    def __init__(self, count: int, seed: int = 0, normalise: Normalise = normal_turns) -> None:
        self._count = count
        self._seed = seed
        self._normalise = normalise
        self._heap: list[tuple[int, int]] = []  # (-hash, key): the candidate with the highest hash first
        self._clusters: dict[int, _Cluster] = {}
        self._distinct: set[int] = set()  # only until there are enough for `count`

    @property
    def active(self) -> bool:
        """Whether there is anything to select."""
        return self._count > 0

    def add_row(self, record: Record, source: int = 0, row: int = 0) -> None:
        """Consider the row at position `row` of `source`."""
        if not self._count:
            return
        key = conversation_key(record, self._normalise)
        cluster = self._clusters.get(key)
        if cluster is not None:
            cluster.places.append((source, row))
            return
        if len(self._distinct) < SHARE * self._count:
            self._distinct.add(key)
        rank = seeded_hash(key, self._seed)
        if len(self._heap) >= self._count and rank >= -self._heap[0][0]:
            return
        self._clusters[key] = _Cluster(record, [(source, row)])
        heapq.heappush(self._heap, (-rank, key))
        if len(self._heap) > self._count:
            self._drop_worst()

    def result(self) -> HeldOut:
        """The selection, once every row was added; rows in their original order."""
        while len(self._heap) > len(self._distinct) // SHARE:
            self._drop_worst()
        clusters = sorted(self._clusters.values(), key=lambda cluster: cluster.places[0])
        places = [place for cluster in clusters for place in cluster.places]
        return HeldOut([cluster.record for cluster in clusters], frozenset(self._clusters), places)

    def _drop_worst(self) -> None:
        del self._clusters[heapq.heappop(self._heap)[1]]
