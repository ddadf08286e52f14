"""Rows of a Parquet file, a batch at a time. Needs pyarrow, which is imported when the first file is opened.

Knows batches and dictionaries. Knows nothing of what the columns mean.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO

from camelid_core.errors import DataError, MissingPackage

from .json_lines import LINE_LIMIT
from .row_faults import Faults, RowFault

BATCH = 512
MAX_EXPANDED_BYTES = 4 * LINE_LIMIT
"""Bytes that the rows of one batch may take once dictionary-encoded texts, stored once in the file, are repeated."""
_DICTIONARY_PAGE = 2
_UNREADABLE = (ArithmeticError, ValueError)  # a date that Python has not, a text that is not UTF-8

_Row = dict[str, Any] | RowFault


class ParquetRows:
    """`(number, row)`, numbered from 1."""

    def __init__(self, file: BinaryIO, name: str, faults: Faults) -> None:
        self._file = file
        self._name = name
        self._faults = faults
        self._varint = 0

    def where(self) -> str:
        """The place of the row that was yielded last."""
        return f"{self._name}, row {self._varint}"

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        batches = self._batches()
        while True:
            try:
                batch = next(batches, None)
            except (OSError, ValueError, MemoryError) as error:  # pyarrow's own are of these
                raise DataError(f"{self._name}, behind row {self._varint}: {_first_line(error)}", "bad_table") from None
            if batch is None:
                return
            for row in _rows(batch):
                self._varint += 1
                if isinstance(row, RowFault):
                    self._faults.add(row.at(self.where()))
                else:
                    yield self._varint, row

    def _batches(self) -> Iterator[Any]:
        table = open_parquet(self._file)
        schema = table.schema_arrow  # made anew at each look, which takes its time where columns are many
        twice = [name for name, count in Counter(schema.names).items() if count > 1]
        if twice:
            raise DataError(f"{self._name}: two columns are called {min(twice)!r}; rename one.", "key_twice")
        coded = {field.name for field in schema if hasattr(field.type, "index_type")}
        for number in range(table.num_row_groups):
            group = table.metadata.row_group(number)
            columns = (group.column(each) for each in range(group.num_columns))
            longest = sum(
                _dictionary_bytes(self._file, column) for column in columns if column.path_in_schema not in coded
            )
            for batch in table.iter_batches(batch_size=_rows_per_batch(longest), row_groups=[number]):
                yield from _dictionary_decoded(batch)


def _rows_per_batch(longest: int) -> int:
    """Rows per batch, when each may take so many bytes from dictionaries."""
    return max(1, min(BATCH, MAX_EXPANDED_BYTES // longest)) if longest else BATCH


def _dictionary_decoded(batch: Any) -> Iterator[Any]:
    """The batch with dictionary-encoded columns decoded to their texts: only then is the size of a row known.
    In several parts if it is large."""
    coded = [number for number, column in enumerate(batch.columns) if hasattr(column, "dictionary")]
    size = _rows_per_batch(sum(batch.column(number).dictionary.nbytes for number in coded))
    for start in range(0, batch.num_rows, size):
        part = batch.slice(start, size)
        for number in coded:
            part = part.set_column(number, part.schema.names[number], part.column(number).dictionary_decode())
        yield part


def _dictionary_bytes(file: BinaryIO, column: Any) -> int:
    """Size of the column's dictionary page, which no text in it can exceed, read from the page header."""
    if column.physical_type not in ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"):
        return 0
    file.seek(column.dictionary_page_offset or column.data_page_offset)
    kind, size = _page_header(file.read(16))
    return size if kind == _DICTIONARY_PAGE else 0


def _page_header(header: bytes) -> tuple[int, int]:
    """Page type and uncompressed size, the first two fields of a page header (Thrift compact protocol: byte 21, then a
    zigzag varint). Zeros where they are missing: the read that follows reports what is wrong."""
    kind, size, *_ = *re.findall(rb"\x15([\x80-\xff]*[\x00-\x7f])", header), b"\0", b"\0"
    return _varint(kind), _varint(size)


def _varint(groups: bytes) -> int:
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(groups)) >> 1


def _rows(batch: Any) -> Iterable[_Row]:
    """The rows as objects, or why one cannot be converted; one by one where they are large."""
    if batch.nbytes <= LINE_LIMIT:
        with suppress(*_UNREADABLE):
            objects: list[_Row] = batch.to_pylist()
            return objects
    return (_row(batch.slice(index, 1)) for index in range(batch.num_rows))


def _row(row: Any) -> _Row:
    if row.nbytes > LINE_LIMIT:
        return RowFault("too_long", f"longer than {LINE_LIMIT:,} bytes.")
    values: dict[str, Any] = {}
    for name, column in zip(row.schema.names, row.columns, strict=True):
        try:
            values[name] = column.to_pylist()[0]
        except _UNREADABLE as error:
            return RowFault("bad_table", f"{_first_line(error)}.", f", {name!r}")
    return values


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
