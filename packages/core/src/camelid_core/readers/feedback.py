"""The feedback file: an append-only JSON Lines journal of people's verdicts on answers (preference annotation).

A row is feedback on one `id`. Of several rows the last one counts, and one that is `retracted` withdraws them.
Knows the rows' order. What they hold is what the formats of preferences and of labelled answers hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from camelid_core.records import Record

from .file_formats import FileRows, RowSource
from .preferences import CHOSEN, preference
from .reader import ReadContext, Reader, Row
from .row_faults import Faults
from .row_formats import prompt_completion

TIME_KEY, ID_KEY, RETRACTED_KEY = "judged", "id", "retracted"
_MAGIC = f'{{"{TIME_KEY}":'.encode()


def is_feedback_file(path: Path) -> bool:
    """Whether the file's first row is a row of feedback."""
    if path.suffix.lower() != ".jsonl":
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False  # reading the file reports the error


class LatestFeedbackRows:
    """The last row of each id, unless it is a retraction."""

    def __init__(self, path: Path, faults: Faults) -> None:
        self._path = path
        self._rows = FileRows(path, faults)

    def where(self) -> str:
        return self._rows.where()

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        last = {_row_id(row, number): number for number, row in FileRows(self._path, Faults(strict=False))}
        for number, row in self._rows:
            if last.get(_row_id(row, number)) == number and not row.get(RETRACTED_KEY):
                yield number, row


def _row_id(row: Row, number: int) -> str | int:
    """A row that was added by hand may have no id; its number is used then."""
    return str(row[ID_KEY]) if row.get(ID_KEY) is not None else number


def _rows(path: Path, read_context: ReadContext) -> RowSource:
    return LatestFeedbackRows(path, read_context.faults)


def _record(row: Row, number: int, read_context: ReadContext) -> Record:
    return preference(row, number, read_context) if CHOSEN in row else prompt_completion(row, number, read_context)


FEEDBACK = Reader(
    "feedback",
    "Feedback on answers, as the chat saves it; the last row of each answer or pair counts.",
    _record,
    rows=_rows,
)
