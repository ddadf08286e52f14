"""Data files → `Record`s, streaming: JSON, JSON Lines, CSV, TSV, Parquet and plain text, in the usual row formats.

Knows files and their faults, which it names by file, line and excerpt. Knows no template.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from camelid_core.errors import DataError
from camelid_core.records import Record

from .column_mapping import Columns
from .compressed import COMPRESSED_SUFFIXES, uncompressed_name
from .detection import Detection, detect
from .file_formats import SUFFIXES, FileRows, file_format_of, has_data_suffix
from .reader import ReadContext, Reader, Row, build_record
from .row_faults import Faults, RowFault
from .selection import READERS, all_readers, choose_reader, reader_by_columns, reader_for_row
from .text_values import MAX_FIELD
from .turns import parse_message

__all__ = [
    "COMPRESSED_SUFFIXES",
    "MAX_FIELD",
    "READERS",
    "SUFFIXES",
    "Columns",
    "Detection",
    "Faults",
    "ReadContext",
    "Reader",
    "Row",
    "RowFault",
    "all_readers",
    "build_record",
    "choose_reader",
    "detect",
    "file_format_of",
    "has_data_suffix",
    "parse_message",
    "read",
    "reader_by_columns",
    "reader_for_row",
    "rows",
    "to_record",
    "uncompressed_name",
]


def read(
    path: Path,
    reader: str = "",
    columns: Columns | None = None,
    faults: Faults | None = None,
    *,
    seed: int = 0,
    keep_escapes: bool = False,
) -> Iterator[Record]:
    """Every record of a file. Without `reader` and `columns`, each row is read by the reader whose columns it has.

    `faults` decides whether the first malformed row stops (the default) or all are counted and skipped.
    `seed` is for readers that choose among phrasings; `keep_escapes` keeps FLAN's literal `\\n`.

    Raises:
        DataError: naming file, place and excerpt; also for a file without a row that can be read.
        UnknownName, UsageError: no such reader, or a mapping that does not go with it.
    """
    faults = faults or Faults()
    chosen = choose_reader(path, reader, columns)
    read_context = ReadContext(uncompressed_name(path).stem, columns, seed, keep_escapes, faults)
    source = chosen.rows(path, read_context)
    empty = True
    for number, row in source:
        try:
            record = chosen.read_row(row, number, read_context)
        except RowFault as fault:
            faults.add(fault.at(source.where()))
        else:
            empty = False
            yield record
    if empty:
        left_out = f" that can be read; {faults.total:,} were left out" if faults.total else ""
        first = f": {faults.examples[0]}" if faults.examples else "."
        raise DataError(f"{path.name} holds no rows{left_out}{first}", "dataset_empty")


def rows(path: Path, faults: Faults | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows as plain objects with their number (the line's in JSON Lines, from 1 elsewhere)."""
    return iter(FileRows(path, faults or Faults()))


def to_record(row: Row, where: str, source: str = "", number: int = 0) -> Record:
    """One row of a format that core knows. Every error message begins with `where`."""
    try:
        return reader_for_row(row).record(row, number, ReadContext(source))
    except RowFault as fault:
        raise fault.at(where) from None
