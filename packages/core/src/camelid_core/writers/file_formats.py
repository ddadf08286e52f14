"""Rows → the bytes of a file: a JSON array, JSON Lines, CSV, TSV, Parquet. Files are written atomically.

Knows file formats. Knows nothing of what the rows mean.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from camelid_core import staging
from camelid_core.errors import DataError
from camelid_core.readers.parquet import BATCH, parquet_module
from camelid_core.readers.row_faults import RowFault
from camelid_core.readers.text_values import MAX_FIELD

from .row_formats import TEXT_COLUMN, TEXT_LIST_COLUMN, OutputRow, RowFormat

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_encode = json.JSONEncoder(ensure_ascii=False).encode


class RowSink(Protocol):
    """Takes rows. `close` writes the end, also after an error; it does not close the file."""

    def add(self, row: OutputRow) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class OutputFileFormat:
    """A file format, its suffixes, and the name of its default row format. Rows of a `table` have the same columns."""

    name: str
    suffixes: tuple[str, ...]
    row_format: str
    open: Callable[[BinaryIO, RowFormat], RowSink]
    table: bool = False


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file that replaces `path` on success and is removed on failure (atomic write).

    Raises:
        DataError: the directory is not there, may not be written to, or is full, or a directory has the file's name.
    """
    with contextlib.ExitStack() as stack:
        try:
            if path.is_dir():
                raise DataError(f"{str(path)!r} is a directory; give the name of a file.", "no_file")
            staged = stack.enter_context(staging.file(path))
            file = staged.open("wb")
        except OSError as error:
            message = f"{str(path)!r} cannot be written: {error.strerror}. Give another file."
            raise DataError(message, "no_file") from None
        complete = False
        try:
            with file:
                yield file
                complete = True
                file.flush()
                os.fsync(file.fileno())
            staged.replace(path)
        except OSError as error:
            if not complete and error.errno not in _FULL:
                raise  # from reading the rows
            message = f"{str(path)!r} cannot be written: {error.strerror}; nothing was kept."
            raise DataError(message, "no_file") from None


class _JsonArraySink:
    def __init__(self, file: BinaryIO, row_format: RowFormat) -> None:
        self._file = file
        self._separator = "[\n  "

    def add(self, row: OutputRow) -> None:
        self._file.write(f"{self._separator}{_encode(row)}".encode())
        self._separator = ",\n  "

    def close(self) -> None:
        self._file.write(b"[]\n" if self._separator.startswith("[") else b"\n]\n")


class _JsonLinesSink:
    def __init__(self, file: BinaryIO, row_format: RowFormat) -> None:
        self._file = file

    def add(self, row: OutputRow) -> None:
        self._file.write(f"{_encode(row)}\n".encode())

    def close(self) -> None:
        pass


class _TableSink:
    """Cells are texts; a list goes in as its JSON text."""

    def __init__(self, file: BinaryIO, row_format: RowFormat, dialect: str) -> None:
        self._shape = row_format
        self._text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        self._writer = csv.writer(self._text, dialect)
        self._writer.writerow(row_format.columns)

    def add(self, row: OutputRow) -> None:
        self._writer.writerow([_cell(value) for value in _in_columns(row, self._shape).values()])

    def close(self) -> None:
        self._text.detach()


class _ParquetSink:
    def __init__(self, file: BinaryIO, row_format: RowFormat) -> None:
        parquet = parquet_module()
        import pyarrow

        self._shape = row_format
        fields = [(name, _arrow_type(kind)) for name, kind in row_format.columns.items()]
        self._batch: Callable[..., Any] = pyarrow.RecordBatch.from_pylist
        self._schema = pyarrow.schema(fields)
        self._writer = parquet.ParquetWriter(file, self._schema)
        self._rows: list[OutputRow] = []

    def add(self, row: OutputRow) -> None:
        self._rows.append(_in_columns(row, self._shape))
        if len(self._rows) >= 8 * BATCH:
            self._flush()

    def close(self) -> None:
        try:
            self._flush()
        finally:
            self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_batch(self._batch(self._rows, schema=self._schema))
            self._rows.clear()


def _in_columns(row: OutputRow, row_format: RowFormat) -> OutputRow:
    """The row with every column of the format, and none besides.

    Raises:
        RowFault: it has more, or a list where the column is a text.
    """
    more = [name for name in row if name not in row_format.columns]
    more += [
        name
        for name, kind in row_format.columns.items()
        if kind == TEXT_COLUMN and not isinstance(row.get(name, ""), str)
    ]
    if more == ["text"]:
        raise RowFault("cannot_hold", "a table holds texts or conversations; JSON Lines (.jsonl) can hold both.")
    if more:
        raise RowFault("cannot_hold", f"a table has no place for {more[0]!r}. The writer 'messages' can hold it.")
    return {name: row.get(name, "" if kind == TEXT_COLUMN else []) for name, kind in row_format.columns.items()}


def _cell(value: Any) -> str:
    cell: str = value if isinstance(value, str) else _encode(value) if value else ""
    if len(cell) > MAX_FIELD:
        raise RowFault("too_long", f"a cell would have {len(cell):,} characters; at most {MAX_FIELD:,} can be read.")
    return cell


def _arrow_type(kind: tuple[str, ...]) -> Any:
    import pyarrow

    if kind == TEXT_COLUMN:
        return pyarrow.string()
    if kind == TEXT_LIST_COLUMN:
        return pyarrow.list_(pyarrow.string())
    return pyarrow.list_(pyarrow.struct([(key, pyarrow.string()) for key in kind]))


OUTPUT_FILE_FORMATS = (
    OutputFileFormat("json", (".json",), "alpaca", _JsonArraySink),
    OutputFileFormat("jsonl", (".jsonl", ".ndjson"), "alpaca", _JsonLinesSink),
    OutputFileFormat("csv", (".csv",), "alpaca", lambda file, row_format: _TableSink(file, row_format, "excel"), True),
    OutputFileFormat(
        "tsv", (".tsv", ".tab"), "alpaca", lambda file, row_format: _TableSink(file, row_format, "excel-tab"), True
    ),
    OutputFileFormat("parquet", (".parquet",), "messages", _ParquetSink, True),
)
