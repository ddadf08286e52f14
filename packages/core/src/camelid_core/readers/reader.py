"""`Reader`: how rows of one format become records, and `ReadContext`: how one file is being read.

Knows what every reader has. Knows no format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from camelid_core.records import Message, Record
from camelid_core.strict_json import loads

from .column_mapping import Columns
from .file_formats import FileRows, RowSource
from .row_faults import Faults, RowFault
from .text_values import text

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ReadContext:
    """What a reader may need beside the row. `source` goes into records that name none themselves."""

    source: str = ""
    columns: Columns | None = None
    seed: int = 0
    keep_escapes: bool = False
    faults: Faults = field(default_factory=Faults)


def _open(path: Path, read_context: ReadContext) -> RowSource:
    return FileRows(path, read_context.faults)


def _any(path: Path) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Reader:
    """One format. `record(row, number, reading)` makes a record or raises RowFault.

    A row fits if it has all columns of one of `column_sets`; without `column_sets` the reader is used only when named.
    `rows` splits the file into rows where suffix and first bytes do not tell how.
    A reader that `refines` another is used in its place for the files it `accepts`.
    """

    name: str
    help: str
    record: Callable[[Row, int, ReadContext], Record]
    column_sets: tuple[tuple[str, ...], ...] = ()
    rows: Callable[[Path, ReadContext], RowSource] = _open
    refines: str = ""
    accepts: Callable[[Path], bool] = _any

    def fits(self, row: Row) -> bool:
        return any(all(key in row for key in keys) for keys in self.column_sets)


def build_record(
    messages: Sequence[Message],
    row: Row,
    number: int,
    read_context: ReadContext,
    names: Columns | None = None,
    rejected: str | None = None,
    label: bool | None = None,
) -> Record:
    """A record with the row's metadata: its id, source (`dataset` too) and tags (`category` too)."""
    names = names or METADATA_COLUMNS
    return Record(
        tuple(messages),
        _metadata_text(row.get(names.id), "id") or str(number),
        _metadata_text(row.get(names.source) or row.get("dataset"), "source") or read_context.source,
        _tags(row.get(names.tags) or row.get("category")),
        rejected,
        label,
    )


METADATA_COLUMNS = Columns(id="id", source="source", tags="tags")


def _metadata_text(value: Any, name: str) -> str:
    return "" if value is None else text(str(value), name)


def _tags(value: Any) -> tuple[str, ...]:
    if not value:
        return ()
    if isinstance(value, str) and value.startswith("["):
        value = _listed(value)
    if isinstance(value, str):
        return (text(value, "tags"),)
    if not isinstance(value, list):
        raise RowFault("no_text", "'tags' must be a text or a list of texts.")
    return tuple(text(tag, "tags") for tag in value)


def _listed(value: str) -> Any:
    """A table holds lists as JSON text; a plain tag may begin with a bracket too."""
    try:
        return loads(value)
    except (ValueError, RecursionError):
        return value
