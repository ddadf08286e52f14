"""The rules that a reader keeps. Knows readers and rows; knows no format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from camelid_core.errors import DataError
from camelid_core.readers import READERS, ReadContext, Reader, Row, RowFault
from camelid_core.records import Record

from .description_rules import assert_described

_WRONG: tuple[Any, ...] = (None, "", "x", 0, 7.5, True, [], [1], [None], {}, {"a": 1}, float("nan"))
"""What stands in files where a text should."""


def assert_reader_contract(reader: Reader, file: Path) -> None:
    """What Camelid relies on in every reader, shown on a small file of its format:

    - it has a name that can be typed and a sentence of help;
    - every row of the file becomes a record with an answer, or a text, and the same one each time;
    - where it has `column_sets`, the rows have those columns, and no reader of Camelid's own claims them first;
    - a row that names no source gets that of the file, and one without an id its number;
    - a row with any other value in a column, or with one missing that it can do without, becomes a record or raises
      `RowFault`: nothing else is raised, as only that names file and row, and can be counted and left out.
    """
    assert_described(reader)
    name = reader.name
    try:
        rows = list(reader.rows(file, ReadContext(file.stem)))
    except DataError as error:
        raise AssertionError(f"{name}: it cannot split {file.name} into rows: {error}") from None
    assert rows, f"{name}: it finds no rows in {file.name}"
    for number, row in rows:
        where = f"{name}, {file.name}, row {number}"
        record = _record(reader, row, number, where)
        assert _record(reader, row, number, where) == record, f"{where}: it gives another record when it is read again"
        _assert_claimed(reader, row, where)
        _assert_metadata(reader, row, where)
        _assert_faults(reader, row, where)


def _record(reader: Reader, row: Row, number: int, where: str) -> Record:
    before = dict(row)
    try:
        record = reader.read_row(row, number, ReadContext("source"))
    except RowFault as fault:
        raise AssertionError(f"{where}: a row of its own format is refused: {fault.text}") from None
    assert isinstance(record, Record), f"{where}: it gives {record!r}, which is no camelid_core.records.Record"
    assert record.is_text or record.answer, f"{where}: the record has no answer and is no text by itself"
    assert dict(row) == before, f"{where}: the reader changes the row; it is given to others too"
    return record


def _assert_claimed(reader: Reader, row: Row, where: str) -> None:
    """Rows are given to the first reader whose columns they have; Camelid's own come first."""
    if not reader.column_sets:
        return
    assert reader.fits(row), f"{where}: the row has none of the reader's column_sets: {sorted(row)}"
    if reader.name in READERS:
        return
    earlier = next((each.name for each in READERS.values() if each.column_sets and each.fits(row)), "")
    assert not earlier, f"{where}: reader {earlier!r} takes such rows first; name other columns, or none"


def _assert_metadata(reader: Reader, row: Row, where: str) -> None:
    plain = {name: value for name, value in row.items() if name not in ("id", "source", "dataset")}
    record = reader.read_row(plain, 41, ReadContext("its-file"))
    assert record.source == "its-file", f"{where}: the record's source is {record.source!r}; use build_record"
    assert record.id == "41", f"{where}: a row without an id has {record.id!r}, and not its number; use build_record"


def _assert_faults(reader: Reader, row: Row, where: str) -> None:
    for column in row:
        without = {name: value for name, value in row.items() if name != column}
        broken = [({**row, column: wrong}, f"is {wrong!r}") for wrong in _WRONG]
        if not reader.column_sets or reader.has_columns(without):  # others are not given to it
            broken.append((without, "is missing"))
        for each, what in broken:
            try:
                reader.read_row(each, 1, ReadContext("source"))
            except RowFault as fault:
                if not fault.text.strip():
                    raise AssertionError(f"{where}: where {column!r} {what}, RowFault says nothing") from fault
            except Exception as error:
                found = f"{type(error).__name__}: {error}"
                raise AssertionError(f"{where}: where {column!r} {what}, it raises {found}; raise RowFault") from error
