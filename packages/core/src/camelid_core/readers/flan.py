"""FLAN's chain-of-thought TSVs: question, answer and rationale, without a header.

Knows the three cells and their escaped newlines. Knows only the plain phrasing: a plugin's reader may refine this one
with its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from camelid_core.errors import DataError
from camelid_core.records import Message, Record

from .file_formats import FileRows, RowSource
from .reader import ReadContext, Reader, Row, build_record
from .row_faults import Faults
from .text_values import text

COLUMNS = ("question", "answer", "rationale")
UNESCAPED = "rows had literal \\n un-escaped"


class FlanRows:
    """Rows of such a file as objects with the three keys; literal `\\n` become newlines unless `keep_escapes`."""

    def __init__(self, path: Path, faults: Faults, keep_escapes: bool = False) -> None:
        self._rows = FileRows(path, faults, COLUMNS)
        self._faults = faults
        self._keep = keep_escapes

    def where(self) -> str:
        return self._rows.where()

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, row in self._rows:
            if any("\0" in cell for cell in row.values()):
                self._faults.add(DataError(f"{self.where()}: the text holds a NUL.", "bad_character"))
                continue
            if not self._keep and any("\\n" in cell for cell in row.values()):
                self._faults.note(UNESCAPED)
                row = {name: cell.replace("\\n", "\n") for name, cell in row.items()}
            yield number, row


def _rows(path: Path, read_context: ReadContext) -> RowSource:
    return FlanRows(path, read_context.faults, read_context.keep_escapes)


def _record(row: Row, number: int, read_context: ReadContext) -> Record:
    question, answer, rationale = (text(row[name], name) for name in COLUMNS)
    turns = (Message("user", question), Message("assistant", f"{rationale}\nThe answer is {answer}."))
    return build_record(turns, {}, number, read_context)


FLAN = Reader(
    "flan-tsv", "FLAN's chain of thought: question, answer and rationale in a TSV without header.", _record, rows=_rows
)
