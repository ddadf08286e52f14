"""Rows of a Parquet file, a batch at a time. Needs pyarrow, which is imported when the first file is opened.

Knows batches. Knows nothing of what the columns mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from camelid_core.errors import DataError, MissingPackage

from .faults import Faults
from .lines import LINE_LIMIT

BATCH = 512


class Parquet:
    """`(number, row)`, numbered from 1."""

    def __init__(self, file: BinaryIO, name: str, faults: Faults) -> None:
        self._file = file
        self._name = name
        self._faults = faults
        self._number = 0

    def where(self) -> str:
        """The place of the row that was given last."""
        return f"{self._name}, row {self._number}"

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        batches = self._batches()
        while True:
            try:
                rows = next(batches, None)
            except (OSError, ValueError) as error:  # pyarrow's errors, and a text that is not UTF-8
                raise DataError(f"{self._name}, behind row {self._number}: {_first_line(error)}", "bad_table") from None
            if rows is None:
                return
            for row in rows:
                self._number += 1
                if row is None:
                    self._faults.add(DataError(f"{self.where()}: longer than {LINE_LIMIT:,} bytes.", "too_long"))
                else:
                    yield self._number, row

    def _batches(self) -> Iterator[list[dict[str, Any] | None]]:
        table = open_parquet(self._file)
        twice = {name for name in table.schema_arrow.names if table.schema_arrow.names.count(name) > 1}
        if twice:
            raise DataError(f"{self._name}: two columns are called {min(twice)!r}; rename one.", "key_twice")
        for batch in table.iter_batches(batch_size=BATCH):
            yield batch.to_pylist() if batch.nbytes <= LINE_LIMIT else _one_by_one(batch)


def _one_by_one(batch: Any) -> list[dict[str, Any] | None]:
    """The rows of a batch that is unusually large; none for one that is too long to be made an object of."""
    rows = (batch.slice(index, 1) for index in range(batch.num_rows))
    return [row.to_pylist()[0] if row.nbytes <= LINE_LIMIT else None for row in rows]


def open_parquet(file: BinaryIO) -> Any:
    """The file as pyarrow's `ParquetFile`, set to hold no more than what is being read."""
    return parquet_module().ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)


def parquet_module() -> Any:
    """Raises MissingPackage: pyarrow is not installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingPackage('Parquet files need pyarrow. Install it: pip install "camelid-core[data]"') from None
    return pyarrow.parquet


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
