"""A data file as a dataset. Knows readers; knows no names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from camelid_core.records import Record

from .dataset import Dataset, LoadRecords, Split

if TYPE_CHECKING:
    from camelid_core.readers import Faults


def file_dataset(path: Path, name: str = "") -> Dataset:
    """A file as a dataset, each row read by the reader whose columns it has. `rows` is 0: not counted."""

    def read_file(faults: Faults, limit: int | None) -> Iterator[Record]:
        from camelid_core.readers import read

        return read(path, faults=faults)

    load, notes = noted(read_file, any_split=True)
    return Dataset(name or str(path), f"The file {path.name}.", "unknown", (), 0, load, source=str(path), notes=notes)


def noted(
    records: Callable[[Faults, int | None], Iterator[Record]], any_split: bool = False
) -> tuple[LoadRecords, Callable[[], list[str]]]:
    """`load` and `notes` of a dataset that has no held-out part and whose rows `records` reads, strictly. It is told
    the limit, and need not heed it. With `any_split` its rows stand for a held-out part, too: they can be scored."""
    newest: list[Faults] = []

    def load(split: Split, limit: int | None) -> Iterator[Record]:
        from camelid_core.readers import Faults

        newest[:] = [Faults()]
        return islice(records(newest[0], limit) if any_split or split == "train" else iter(()), limit)

    return load, lambda: [sentence for faults in newest for sentence in faults.sentences()]
