"""A data file as a dataset. Knows readers; knows no names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from camelid_core.records import Record

from .dataset import Dataset, Split


def file_dataset(path: Path, name: str = "") -> Dataset:
    """A file as a dataset, each row read by the reader whose columns it has. `rows` is 0: not counted."""
    from camelid_core.readers import read

    def load(split: Split, limit: int | None) -> Iterator[Record]:
        for count, record in enumerate(read(path)):
            if limit is not None and count >= limit:
                return
            yield record

    return Dataset(name or str(path), f"The file {path.name}.", "unknown", (), 0, load, source=str(path))
