"""A data file as a dataset. Knows readers; knows no names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from camelid_core.records import Record

from .dataset import Dataset
from .noted_records import noted

if TYPE_CHECKING:
    from camelid_core.readers import Faults


def file_dataset(path: Path, name: str = "") -> Dataset:
    """A file as a dataset, each row read by the reader whose columns it has. `rows` is 0: not counted."""

    def read_file(faults: Faults, limit: int | None) -> Iterator[Record]:
        from camelid_core.readers import read

        return read(path, faults=faults)

    load = noted(read_file, any_split=True)
    return Dataset(name or str(path), f"The file {path.name}.", "unknown", (), 0, load, source=str(path))
