"""Detects a file's format, and says why: file format, reader, columns, and a proposed mapping where no reader fits.

Reads the first rows only. Knows no format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from camelid_core.errors import DataError

from .column_mapping import Columns
from .column_proposal import propose
from .feedback import FEEDBACK, is_feedback_file
from .file_formats import FileRows, file_format_of
from .flan import FLAN
from .reader import ReadContext, Reader
from .row_faults import Faults, RowFault
from .selection import all_readers, choose_reader, is_flan_file, matching_reader, reader_by_columns
from .text_values import listed

SAMPLE = 20
"""Rows that are examined."""


@dataclass(frozen=True, slots=True)
class Detection:
    """`fits`: the first rows can be read as they are, by `reader`. If not, `proposed` may be a mapping to confirm."""

    reader: str
    reason: str
    columns: tuple[str, ...]
    proposed: Columns | None
    sample: tuple[dict[str, Any], ...]
    fits: bool


def detect(path: Path) -> Detection:
    """Raises DataError: the file cannot be read, or is no data file, or holds no row at all."""
    form = file_format_of(path)
    if is_flan_file(path):
        return _by_itself(path, FLAN.name, _FLAN)
    if is_feedback_file(path):
        return _by_itself(path, FEEDBACK.name, _FEEDBACK)
    faults = Faults(strict=False)
    sample = [row for _, row in islice(FileRows(path, faults), SAMPLE)]
    if not sample:
        first = f" that can be read: {faults.examples[0]}" if faults.examples else "."
        raise DataError(f"{path.name} holds no rows{first}", "dataset_empty")
    columns = tuple(dict.fromkeys(key for row in sample for key in row))
    names = Counter(_reader_name(row) for row in sample)
    if "" in names:
        return _unknown(form.name, columns, sample)
    reader = names.most_common(1)[0][0] if len(names) == 1 else ""
    fault = _first_fault(sample, reader_by_columns(), ReadContext(faults=faults))
    reason = f"{form.name}; {_why(names, columns)}"
    if fault or faults.total:
        reason += f" But {fault or faults.examples[0]}"
    return Detection(reader, reason, columns, None, tuple(sample), not fault and not faults.total)


_FLAN = "TSV; three cells a line and a first line that is no header: question, answer and rationale, as FLAN has."
_FEEDBACK = "JSON Lines; feedback on answers, of which the last row of each counts."


def _by_itself(path: Path, name: str, reason: str) -> Detection:
    """A file that its reader cuts into rows itself."""
    reader = choose_reader(path, name)
    sample = tuple(row for _, row in islice(reader.rows(path, ReadContext()), SAMPLE))
    return Detection(reader.name, reason, tuple(sample[0]) if sample else (), None, sample, bool(sample))


def _unknown(form: str, columns: tuple[str, ...], sample: list[dict[str, Any]]) -> Detection:
    proposed = propose(columns, sample)
    reason = f"{form}; no reader knows the columns {listed(columns, quoted=False)}."
    reason += f" By their names and contents they could be {proposed}." if proposed else " Name them by a mapping."
    return Detection("mapped" if proposed else "", reason, columns, proposed, tuple(sample), False)


def _reader_name(row: dict[str, Any]) -> str:
    reader = matching_reader(row, all_readers().values())
    return reader.name if reader else ""


def _why(names: Counter[str], columns: tuple[str, ...]) -> str:
    total = names.total()
    rows = "the first row has" if total == 1 else f"all of the first {total} rows have"
    if len(names) > 1:
        parts = ", ".join(f"{count} are {name}" for name, count in names.most_common())
        return f"rows of several formats: of the first {total}, {parts}; each is read as its own."
    reader = all_readers()[next(iter(names))]
    keys = next((keys for keys in reader.column_sets if set(keys) <= set(columns)), reader.column_sets[0])
    return f"{rows} {' and '.join(map(repr, keys))}, as {reader.name} has."


def _first_fault(sample: Iterable[dict[str, Any]], reader: Reader, read_context: ReadContext) -> str:
    for number, row in enumerate(sample, 1):
        try:
            reader.record(row, number, read_context)
        except RowFault as fault:
            return str(fault.at(f"row {number} of those"))
    return ""
