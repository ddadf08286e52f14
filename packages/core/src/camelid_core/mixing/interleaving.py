"""Interleaves several streams: an order fixed by a seed, evenly mixed, and computable from any position on.

Knows counts. Knows nothing of what the streams hold.

Element k of a stream of n is at (k + u) / n on a line from 0 to 1, where u is a hash of seed, stream and k.
So every part of the line has each stream's share, and how many elements come before a place is computed without
iterating.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import islice

from camelid_core.quality.row_keys import seeded_hash


class InterleavingSchedule:
    """Streams with `counts` elements each, merged into one order of `total`."""

    def __init__(self, counts: Sequence[int], seed: int = 0) -> None:
        self.counts = list(counts)
        self.total = sum(counts)
        self._keys = [seeded_hash(number, seed) for number in range(len(self.counts))]

    def stream_indices(self, start: int = 0) -> Iterator[int]:
        """The stream that each position takes its element from, from position `start` on."""
        consumed, left = self._near(start)
        return islice(self._from(consumed), left, None)

    def consumed(self, start: int) -> list[int]:
        """How many elements of each stream come before position `start`."""
        consumed, left = self._near(start)
        for number in islice(self._from(list(consumed)), left):
            consumed[number] += 1
        return consumed

    def _near(self, start: int) -> tuple[list[int], int]:
        """Elements given by a place a little before position `start`, and how many are missing to it."""
        start = max(0, min(start, self.total))
        place = max(0.0, (start - len(self.counts) - 1) / self.total) if self.total else 0.0
        consumed = [self._before(number, place) for number in range(len(self.counts))]
        return consumed, start - sum(consumed)

    def _before(self, number: int, place: float) -> int:
        """How many elements of a stream come before `place`."""
        count = self.counts[number]
        element = max(0, min(count, int(place * count) - 1))
        while element < count and self._place(number, element) < place:
            element += 1
        return element

    def _place(self, number: int, element: int) -> float:
        return (element + seeded_hash(element, self._keys[number]) / 2**64) / self.counts[number]

    def _from(self, consumed: list[int]) -> Iterator[int]:
        heap = [
            (self._place(number, element), number, element)
            for number, element in enumerate(consumed)
            if element < self.counts[number]
        ]
        heapq.heapify(heap)
        while heap:
            _, number, element = heap[0]
            yield number
            if element + 1 < self.counts[number]:
                heapq.heapreplace(heap, (self._place(number, element + 1), number, element + 1))
            else:
                heapq.heappop(heap)


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """`total` in whole parts as the weights say: rounded down, the largest remainders up."""
    whole = sum(weights)
    if not whole:
        return [0] * len(weights)
    exact = [total * weight / whole for weight in weights]
    parts = [int(each) for each in exact]
    by_remainder = sorted(range(len(exact)), key=lambda n: (parts[n] - exact[n], n))
    for number in by_remainder[: total - sum(parts)]:
        parts[number] += 1
    return parts
