"""A set's files → records, with the set's own columns, or its own rows of a shared file.

Knows files on this machine. Knows nothing of where they came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from camelid_core.errors import DataError
from camelid_core.quality.row_lints import LINTS
from camelid_core.readers import Faults, read, rows, to_record
from camelid_core.readers.flan import UNESCAPED
from camelid_core.records import Record

from .collection_table import CollectionRow


def records(row: CollectionRow, files: Iterable[Path], faults: Faults | None = None) -> Iterator[Record]:
    """Every record of the row, from one file after the other. Ids are unique within the row. In sets of chains of
    thought a literal `\\n` becomes a line break, as in FLAN's own files; `faults` takes the note of it."""
    faults = faults or Faults()
    paths = list(files)
    for path in paths:
        before = f"{path.stem}-" if len(paths) > 1 else ""
        special = row.fields or row.keep
        for record in _special_rows(row, path) if special else read(path, faults=faults):
            if "cot" in row.name.split("-"):
                record = _with_line_breaks(record, faults)
            yield replace(record, source=row.name, id=f"{before}{record.id}")


def _with_line_breaks(record: Record, faults: Faults) -> Record:
    fixed = _LINE_BREAKS.fix(record) if _LINE_BREAKS.fix and _LINE_BREAKS.find(record) else None
    if fixed is None or fixed == record:
        return record
    faults.note(UNESCAPED)
    return fixed


_LINE_BREAKS = LINTS["escaped-newlines"]


def _special_rows(row: CollectionRow, path: Path) -> Iterator[Record]:
    empty = True
    for number, values in rows(path):
        if all(str(values.get(key)) == wanted for key, wanted in row.keep.items()):
            empty = False
            yield to_record(_mapped(row, values), where=f"{path.name}, row {number}", source=row.name, number=number)
    if empty and row.keep and path.suffix != ".parquet":  # a shard may well hold none of the set's rows
        raise DataError(f"{path.name} holds no rows of {row.name} ({dict(row.keep)}).")


def _mapped(row: CollectionRow, values: dict[str, Any]) -> Mapping[str, Any]:
    """The first of a field's columns that has a value."""
    if not row.fields:
        return values
    return {
        "input": "",
        **{
            name: next((values[column] for column in columns if values.get(column)), "")
            for name, columns in row.fields.items()
        },
    }
