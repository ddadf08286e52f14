"""Sources of prediction rows for a page: a published result, or the answers of a running job so far.

Knows files and the offset of each row, and never reads a whole file into memory. Knows nothing of how rows look.
"""

from __future__ import annotations

import json
import threading
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from camelid_core.artefacts import MANIFEST, read_artefact
from camelid_core.errors import DataError
from camelid_serve.config import PredictConfig
from camelid_serve.json_lines import to_json_line
from camelid_serve.predict.inputs import InputRow, input_of
from camelid_serve.predict.prediction_rows import answered_rows, merge_results, model_labels, model_names
from camelid_serve.predict.result_columns import SAME_NAMES
from camelid_serve.predict.task import recorded_answers

from .prediction_table import NumberedRow, PredictionTable, RowSelection, scores_of

_KEPT = 1000
_SEARCH_PAUSE_FACTOR = 10
"""A page that polls may spend a tenth of its time reading the input."""


class PublishedRows:
    """A published result, indexed once."""

    finished = True

    def __init__(self, path: Path) -> None:
        self.table = PredictionTable()
        self.columns = {**SAME_NAMES, **_renamed_columns(path)}
        self._path = path
        self._offsets = array("q", [0])
        begins = 0
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                self._offsets.append(begins)
                begins += len(line)
                row = _parsed(line, path)
                self.table.add(number, self.columns["error"] in row, scores_of(row, self.columns))

    def rows(self, selection: RowSelection, start: int) -> list[NumberedRow]:
        found = []
        with self._path.open("rb") as file:
            for number in self.table.page(selection, start):
                file.seek(self._offsets[number])
                found.append((number, _parsed(file.readline(), self._path)))
        return found

    def lines(self) -> Iterator[bytes]:
        """The whole result."""
        with self._path.open("rb") as file:
            while piece := file.read(1 << 18):
                yield piece


class RunningRows:
    """The answers of a running job so far; each refresh reads on from where the last one ended. `columns` names the
    result's columns."""

    finished = False

    def __init__(self, config: PredictConfig, directories: Sequence[Path], columns: Mapping[str, str]) -> None:
        self.table = PredictionTable()
        self.columns = columns
        names = model_labels(model_names(config))
        seen = {label: partial(self._add_result, label if len(names) > 1 else "") for label in names}
        self._done = recorded_answers(config, directories, seen)
        self._source = input_of(config)
        self._limit = config.limit
        self._known_rows: dict[int, InputRow] = {}
        self._last_page: tuple[RowSelection, int, list[int]] = ("all", 0, [])
        self._next_search = 0.0
        self._lock = threading.Lock()

    def refresh(self) -> None:
        with self._lock:
            for done in self._done.values():
                done.refresh()

    def rows(self, selection: RowSelection, start: int) -> list[NumberedRow]:
        with self._lock:
            numbers = self.table.page(selection, start)
            if self._last_page[:2] == (selection, start) and time.monotonic() < self._next_search:
                numbers = self._last_page[2] if set(numbers) - self._known_rows.keys() else numbers
            self._read(set(numbers) - self._known_rows.keys())
            self._last_page = (selection, start, numbers)
            kept = [self._known_rows[number] for number in numbers if number in self._known_rows]
            return [(row.number, merge_results(row, self._results(row.number), self.columns)) for row in kept]

    def lines(self) -> Iterator[bytes]:
        """The rows so far as JSON Lines."""
        for _, row in answered_rows(self._source.rows(self._limit), self._done, self.columns):
            yield to_json_line(row)

    def _add_result(self, model: str, number: int, result: Mapping[str, Any]) -> None:
        scores = result.get("scores")
        self.table.add(number, "error" in result, {model: scores} if scores else {})

    def _results(self, number: int) -> dict[str, Mapping[str, Any]]:
        return {label: done.get(number, {}) for label, done in self._done.items()}

    def _read(self, wanted: set[int]) -> None:
        """Read rows of the input by number: it can only be read from its beginning."""
        if not wanted:
            return
        began = time.monotonic()
        if len(self._known_rows) > _KEPT:
            self._known_rows.clear()
        left = set(wanted)
        for row in self._source.rows(max(wanted)):
            if row.number in left:
                self._known_rows[row.number] = row
                left.discard(row.number)
        now = time.monotonic()
        self._next_search = now + _SEARCH_PAUSE_FACTOR * (now - began)


def _renamed_columns(path: Path) -> Mapping[str, str]:
    """Result columns that are not under their own names in this result; its manifest says so."""
    if not (path.parent / MANIFEST).is_file():
        return {}
    found = read_artefact(path.parent).manifest.metrics.get("columns", {})
    return found if isinstance(found, dict) else {}


def _parsed(line: bytes, path: Path) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise DataError(f"{str(path)!r} is not as it was written: it holds a line that is no row.")
    return row
