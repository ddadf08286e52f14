"""Which reader reads a file: the one that was named, the column mapping, or for each row the one whose columns it has.

Knows all readers, plugins' too. Knows nothing of formats.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from camelid_core.errors import CamelidError, UnknownName, UsageError
from camelid_core.records import Record

from .column_mapping import Columns
from .column_proposal import propose
from .compressed import uncompressed_name
from .delimited import DelimitedCells
from .feedback import FEEDBACK, is_feedback_file
from .file_formats import open_data_file
from .flan import COLUMNS, FLAN
from .reader import ReadContext, Reader, Row
from .row_faults import Faults, RowFault
from .row_formats import FORMATS
from .text_values import listed

READERS: Mapping[str, Reader] = MappingProxyType({reader.name: reader for reader in (*FORMATS, FLAN, FEEDBACK)})
"""The readers of core itself."""

_MAX_CACHED_COLUMN_SETS = 100
_COLUMN_NAME = re.compile(r"[^\W\d][\w .#-]{0,39}")


def all_readers() -> dict[str, Reader]:
    """All readers by name: core's first, then those of plugins."""
    from camelid_core.plugins import load_host

    return {reader.name: reader for reader in load_host().readers}


def choose_reader(path: Path, name: str = "", columns: Columns | None = None) -> Reader:
    """The reader for a file.

    Raises:
        UnknownName: no reader is called `name`.
        UsageError: a mapping for a reader that takes none, or none for the one that needs it.
    """
    if columns is not None and columns.text and columns.turns:
        raise UsageError(
            f"mapping {str(columns)!r}: a text stands by itself; leave out {', '.join(columns.turns)}, or 'text'."
        )
    if columns is not None and name in ("", "mapped"):
        return READERS["mapped"]
    if columns is not None:
        raise UsageError(
            f"reader {name!r} knows its columns; give a mapping without a reader, or a reader without one."
        )
    if name == "mapped":
        raise UsageError("reader 'mapped' needs a mapping: instruction=question,output=answer, for example.")
    if name or is_flan_file(path):
        return _reader_by_name(name or FLAN.name, path)
    if is_feedback_file(path):
        return FEEDBACK
    return reader_by_columns()


def reader_by_columns() -> Reader:
    """Each row by the first reader whose columns it has; one file may hold rows of several formats."""
    candidates = tuple(reader for reader in all_readers().values() if reader.column_sets)
    by_keys: dict[tuple[str, ...], Reader] = {}  # most files have rows of one or two kinds

    def record(row: Row, number: int, read_context: ReadContext) -> Record:
        keys = tuple(row)
        reader = by_keys.get(keys)
        if reader is None:
            reader = reader_for_row(row, candidates)
            if len(by_keys) < _MAX_CACHED_COLUMN_SETS:
                by_keys[keys] = reader
        return reader.record(row, number, read_context)

    return Reader("", "Each row by its columns.", record)


def matching_reader(row: Row, readers: Iterable[Reader]) -> Reader | None:
    """The first reader whose columns the row has. Quick, where `reader_for_row` proposes a mapping."""
    return next((reader for reader in readers if reader.column_sets and reader.fits(row)), None)


def reader_for_row(row: Row, readers: Iterable[Reader] = READERS.values()) -> Reader:
    """Raises RowFault: the columns are those of no format."""
    reader = matching_reader(row, readers)
    if reader is not None:
        return reader
    proposed = propose(list(row), [row]) or "instruction=question,output=answer, for example"
    raise RowFault(
        "unknown_format",
        f"no known format; the keys are [{listed(sorted(map(str, row)))}]. "
        "Rows need 'instruction' and 'output' (and may have 'input'), 'messages', or 'text' without an answer; "
        f"other names need a mapping: {proposed}.",
    )


def is_flan_file(path: Path) -> bool:
    """Whether the file is a TSV of three cells a line whose first line is no header."""
    if uncompressed_name(path).suffix.lower() not in (".tsv", ".tab"):
        return False
    first = first_cells(path, "\t", 2)
    return bool(first) and all(len(cells) == len(COLUMNS) for cells in first) and not looks_like_header(first[0])


def looks_like_header(cells: Iterable[str]) -> bool:
    """Whether all of the first line could be names: short, distinct, and beginning with a letter."""
    names = [cell.strip() for cell in cells]
    return len(set(names)) == len(names) and all(_COLUMN_NAME.fullmatch(name) for name in names)


def first_cells(path: Path, delimiter: str, count: int) -> list[list[str]]:
    """The cells of the first rows of a table; none if it cannot be read, which reading it reports."""
    try:
        with open_data_file(path) as (file, _, _):
            return list(islice(DelimitedCells(file, path.name, Faults(), delimiter), count))
    except CamelidError:
        return []


def _reader_by_name(name: str, path: Path) -> Reader:
    readers = all_readers()
    if name not in readers:
        raise UnknownName("reader", name, readers)
    for reader in readers.values():
        if reader.refines == name and reader.accepts(path):
            return reader
    return _requiring_columns(readers[name]) if readers[name].column_sets else readers[name]


def _requiring_columns(reader: Reader) -> Reader:
    """The reader with a check of the columns, for rows that were not matched to it."""
    required = ", or ".join(" and ".join(map(repr, keys)) for keys in reader.column_sets)

    def record(row: Row, number: int, read_context: ReadContext) -> Record:
        if not reader.has_columns(row):
            raise RowFault("unknown_format", f"reader {reader.name!r} needs {required}; the columns are {listed(row)}.")
        return reader.record(row, number, read_context)

    return replace(reader, record=record)
