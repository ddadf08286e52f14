"""`MixedDataset`: a prepared mixture, streamed from any position. Knows which rows are kept, not why."""

from __future__ import annotations

import random
from pathlib import PurePath
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import compress, islice

from camelid_core.datasets.dataset import Dataset, Source
from camelid_core.errors import DataError
from camelid_core.quality.row_filter import RowAccount
from camelid_core.quality.row_keys import conversation_key
from camelid_core.records import Record

from .config import Mixture
from .interleaving import InterleavingSchedule


@dataclass(slots=True)
class MixtureSource:
    """One source: its dataset, which of its rows are kept (None: not counted), and how many rows it contributes."""

    source: Source
    dataset: Dataset
    account: RowAccount
    mask: bytearray | None
    size: int = 0
    count: int = 0


@dataclass(slots=True)
class MixedDataset:
    """A prepared mixture: `records` streams the training rows, `heldout` has the held-out ones."""

    mixture: Mixture
    heldout: list[Record]
    _parts: list[MixtureSource]
    _excluded: frozenset[int]
    _schedule: InterleavingSchedule = field(init=False)

    def __post_init__(self) -> None:
        self._schedule = InterleavingSchedule([part.count for part in self._parts], self.mixture.seed)

    def __len__(self) -> int:
        return self._schedule.total

    @property
    def account(self) -> list[RowAccount]:
        """Rows before and after for each source, in the order of the sources."""
        return [part.account for part in self._parts]

    @property
    def datasets(self) -> list[Dataset]:
        """The dataset behind each source, in the order of the sources."""
        return [part.dataset for part in self._parts]

    def shares(self) -> dict[str, float]:
        """Source → its share of the training rows."""
        shares: Counter[str] = Counter()
        for part in self._parts:
            shares[part.source.name] += part.count
        return {name: count / max(1, len(self)) for name, count in shares.items()}

    def records(self, start: int = 0) -> Iterator[Record]:
        """The training rows from position `start` on."""
        return (record for _, record in self.items(start))

    def items(self, start: int = 0) -> Iterator[tuple[int, Record]]:
        """Like `records`, with the number of the source each row comes from."""
        consumed = self._schedule.consumed(start)
        streams = [self._stream(part, skip) for part, skip in zip(self._parts, consumed, strict=True)]
        for number in self._schedule.stream_indices(start):
            record = next(streams[number], None)
            if record is None:
                raise DataError(f"{self._parts[number].source.name!r} has fewer rows than when they were counted.")
            yield number, record

    def _stream(self, part: MixtureSource, skip: int) -> Iterator[Record]:
        """The rows that one source contributes, in its own order, without the first `skip`."""
        whole = part.count // part.size if part.mask is not None and part.size else 0
        done = min(skip // part.size, whole) if whole else 0
        return islice(self._passes(part, whole, done), skip - done * part.size, None)

    def _passes(self, part: MixtureSource, whole: int, done: int) -> Iterator[Record]:
        """As many whole passes as fit, then an even spread of the rest."""
        if part.mask is None:
            yield from self._uncounted(part)
            return
        for _ in range(done, whole):
            yield from compress(part.dataset.load("train", None), part.mask)
        rest = part.count - whole * part.size
        if rest:
            spread = self._spread(part, rest)
            yield from compress(compress(part.dataset.load("train", None), part.mask), spread)

    def _spread(self, part: MixtureSource, rest: int) -> Iterator[bool]:
        """`rest` of `size` places, evenly; the seed says where they begin."""
        place = random.Random(f"{self.mixture.seed} {PurePath(part.source.name).name}").randrange(part.size)
        while True:
            place += rest
            yield place >= part.size
            place %= part.size

    def _uncounted(self, part: MixtureSource) -> Iterator[Record]:
        limit = None if self._excluded or part.count >= part.size else part.count
        while True:
            empty = True
            for record in part.dataset.load("train", limit):
                if not self._excluded or conversation_key(record) not in self._excluded:
                    empty = False
                    yield record
            if empty:
                raise DataError(f"{part.source.name!r} has no rows to train on.")
