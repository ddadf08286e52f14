"""`Record`s → data files, streaming: JSON, JSON Lines, CSV, TSV and Parquet, in the row formats in common use.

Knows files. Knows no templates. A record that a format cannot hold is a fault of its row, never dropped silently.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path

from camelid_core.readers.row_faults import Faults, RowFault
from camelid_core.records import Record

from .file_formats import atomic_file
from .row_formats import TEXTS, to_alpaca
from .selection import WRITERS, Writer, choose_writer

__all__ = [
    "WRITERS",
    "Writer",
    "choose_writer",
    "to_alpaca",
    "write",
    "write_alpaca",
]


def write(records: Iterable[Record], path: Path, writer: str = "", faults: Faults | None = None) -> int:
    """Stream `records` to `path`, written atomically; returns how many were written.

    Without `writer`, the suffix decides: Alpaca's columns for JSON and tables, messages for Parquet; and a text by
    itself is a `text`, in a table if the first row is one.
    `faults` decides whether a record that the format cannot hold stops (the default) or is counted and skipped.

    Raises:
        DataError: such a record, with its row and the reason; or the file cannot be written.
        UnknownName, UsageError: no such writer, or a suffix that is not written.
    """
    row_format, file_format = choose_writer(path, writer)
    faults = faults or Faults()
    records = iter(records)
    first = list(islice(records, 1))
    if not writer and file_format.table and first and first[0].is_text:
        row_format = TEXTS
    count = 0
    with atomic_file(path) as file, contextlib.closing(file_format.open(file, row_format)) as sink:
        for number, record in enumerate(chain(first, records), 1):
            try:
                shape = TEXTS if record.is_text and not writer else row_format
                sink.add(shape.checked_row(record, faults))
            except RowFault as fault:
                faults.add(fault.at(f"row {number} cannot be written as {row_format.name}"))
            else:
                count += 1
    return count


def write_alpaca(records: Iterable[Record], path: Path) -> int:
    """Alpaca's columns, whatever the suffix."""
    return write(records, path, "alpaca")
