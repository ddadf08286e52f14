"""`Reader`: how rows of one format become records, and `ReadContext`: how one file is being read.

Knows what every reader has. Knows no format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from camelid_core.records import Message, Record, take_turns
from camelid_core.strict_json import loads

from .column_mapping import Columns
from .file_formats import FileRows, RowSource
from .row_faults import Faults, RowFault
from .text_values import excerpt, is_absent, is_empty, text

Row = Mapping[str, Any]


class TrackedRow(Mapping[str, Any]):
    """A row that remembers which of its columns were read. Asking whether a column is there does not read it."""

    __slots__ = ("_read", "_row")

    def __init__(self, row: Row) -> None:
        self._row = row
        self._read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self._read.add(name)
        return self._row[name]

    def get(self, name: str, default: Any = None) -> Any:
        self._read.add(name)
        return self._row.get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in self._row

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def unused(self) -> list[str]:
        """Columns that hold something and were not read."""
        return [name for name in self._row if name not in self._read and not is_empty(self._row[name])]


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

    A row fits if it has all columns of one of `column_sets` and none of `unless`, which give those columns another
    meaning; without `column_sets` the reader is used only when named.
    `rows` splits the file into rows where suffix and first bytes do not tell how.
    A reader that `refines` another is used in its place for the files it `accepts`.
    """

    name: str
    help: str
    record: Callable[[Row, int, ReadContext], Record]
    column_sets: tuple[tuple[str, ...], ...] = ()
    unless: tuple[str, ...] = ()
    rows: Callable[[Path, ReadContext], RowSource] = _open
    refines: str = ""
    accepts: Callable[[Path], bool] = _any

    def fits(self, row: Row) -> bool:
        return self.has_columns(row) and not any(name in row for name in self.unless)

    def has_columns(self, row: Row) -> bool:
        return any(all(key in row for key in keys) for keys in self.column_sets)

    def read_row(self, row: Row, number: int, read_context: ReadContext, used: str = "") -> Record:
        """`record`, with a note of the columns that took no part; `used` is one that the caller reads itself.

        Raises:
            RowFault: the row is malformed.
        """
        tracked = TrackedRow(row)
        tracked.get(used)
        record = self.record(tracked, number, read_context)
        read_context.faults.add_unused("columns", tracked.unused())
        return record


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
    answers = [message.trained for message in messages if message.role == "assistant"]
    if answers and not any(answers):
        read_context.faults.note(NOTHING_TRAINED)
    if not take_turns(messages):
        read_context.faults.note(OUT_OF_TURN)
    return Record(
        tuple(messages),
        _metadata_text(row.get(names.id), "id") or str(number),
        _first_label(row, names.source, "dataset") or read_context.source,
        _tags(row, names.tags, "category"),
        rejected,
        label,
    )


NOTHING_TRAINED = "conversations had no answer to learn from: all are marked not to be trained on"
OUT_OF_TURN = (
    "conversations had several turns of one role in a row, or a later system message, which some templates do not take"
)
METADATA_COLUMNS = Columns(id="id", source="source", tags="tags")


def _metadata_text(value: Any, name: str) -> str:
    """A name or a number as text: `7` and `7.0` are "7"; null and NaN are nothing."""
    if is_absent(value):
        return ""
    return text(str(int(value)) if isinstance(value, float) and value.is_integer() else str(value), name)


def _first_label(row: Row, *names: str) -> str:
    return next(filter(None, (_metadata_text(row.get(name), name) for name in names)), "")


def _tags(row: Row, *names: str) -> tuple[str, ...]:
    """The tags under the first of `names` that has any: a text, a number, or a list of them."""
    name = next((name for name in names if not is_empty(row.get(name))), "")
    value = row[name] if name else []
    if isinstance(value, str) and value.startswith("["):
        value = _listed(value)
    tags = value if isinstance(value, list) else [value]
    wrong = next((tag for tag in tags if not isinstance(tag, str | int | float | None)), None)
    if wrong is not None:
        raise RowFault("no_text", f"a tag is a text or a number, not {excerpt(wrong)}.", f", {name!r}")
    return tuple(filter(None, (_metadata_text(tag, name) for tag in tags)))


def _listed(value: str) -> Any:
    """A table holds lists as JSON text; a plain tag may begin with a bracket too."""
    try:
        return loads(value)
    except (ValueError, RecursionError):
        return value
