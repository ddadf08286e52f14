"""Records with notes: what reading them changed or left unused, known once they were read.

Knows streams. Knows nothing of files and readers. Each stream has its own notes: two readers of one dataset share none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from camelid_core.records import Record

from .dataset import LoadRecords, Split

if TYPE_CHECKING:
    from camelid_core.readers import Faults


class NotedRecords(Iterator[Record]):
    """A stream of records; `notes()` are sentences about those that it has given out."""

    def __init__(self, records: Iterator[Record], notes: Callable[[], Sequence[str]]) -> None:
        self._records = records
        self.notes = notes

    def __iter__(self) -> Iterator[Record]:
        return self._records

    def __next__(self) -> Record:
        return next(self._records)


def notes_of(records: Iterable[Record]) -> list[str]:
    """The notes of a stream; none of one that keeps none, as a plugin's may."""
    return list(records.notes()) if isinstance(records, NotedRecords) else []


def noted(records: Callable[[Faults, int | None], Iterator[Record]], any_split: bool = False) -> LoadRecords:
    """`load` of a dataset that has no held-out part and whose rows `records` reads, strictly. It is told the limit, and
    need not heed it. With `any_split` its rows stand for a held-out part, too: they can be scored."""

    def load(split: Split, limit: int | None) -> Iterator[Record]:
        from camelid_core.readers import Faults

        faults = Faults()
        found = records(faults, limit) if any_split or split == "train" else iter(())
        return NotedRecords(islice(found, limit), faults.sentences)

    return load


def joined(streams: Iterable[tuple[str, Iterator[Record]]]) -> NotedRecords:
    """Streams of records one after the other; their notes begin with the names given here."""
    begun: list[tuple[str, Iterator[Record]]] = []

    def records() -> Iterator[Record]:
        for name, stream in streams:
            begun.append((name, stream))
            yield from stream

    return NotedRecords(records(), lambda: notes_by_name(begun))


def notes_by_name(streams: Iterable[tuple[str, Iterable[Record]]]) -> list[str]:
    """The notes of several streams, each after the name of its own."""
    return [f"{name}: {note}" for name, stream in streams for note in notes_of(stream)]


def first_of(records: Iterator[Record], limit: int | None) -> NotedRecords:
    """The first `limit` records of a stream, with its notes."""
    return NotedRecords(islice(records, limit), lambda: notes_of(records))
