"""The work log: results row by row on disk, so that a later attempt resumes where this one was killed.

Knows one append-only file per attempt, and of each row in it only its byte offset: a million of them take
eight megabytes. Knows nothing of models or of what a row holds.
"""

from __future__ import annotations

import json
import os
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from camelid_core.file_permissions import open_private
from camelid_core.integrity import fsync_directory

from camelid_serve.json_lines import to_json_line

WORK = "answers.work.jsonl"
_ABSENT = -1
_FILE_BITS = 16
"""The lowest bits of a location are the number of its file; a job has far fewer attempts than that."""
SYNC_SECONDS = 2.0
"""Seconds between fsyncs. Each row is flushed, but fsync at each row would cost a quick model a tenth of its time, and
a row that a power cut takes is only answered again."""

Result = Mapping[str, Any]
OnResult = Callable[[int, Result], None]


def work_file_name(number: int) -> str:
    """Name of the work log of the model with this number, from 0."""
    return f"answers-{number}.work.jsonl" if number else WORK


class WorkLog:
    """Results by row number. `identity` says what they are results of; files with another one are ignored."""

    def __init__(self, name: str, identity: str, directory: Path, earlier: Sequence[Path] = ()) -> None:
        self.done = RecordedResults([place / name for place in (directory, *earlier)], identity)
        self._lock = threading.Lock()
        self._file = open_private(directory / name, "ab")
        self._file.write(to_json_line({"identity": identity}) if self._file.tell() == 0 else b"\n")
        self._sync()
        fsync_directory(directory)

    def add(self, row: int, result: Result) -> None:
        """Append and flush one result: it survives a kill of this process."""
        with self._lock:
            offset = self._file.tell()
            self._file.write(to_json_line({"row": row, "result": result}))
            self._file.flush()
            self.done.index(row, 0, offset)
            if time.monotonic() - self._synced >= SYNC_SECONDS:
                self._sync()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with self._file:
            self._sync()

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()


class RecordedResults(Mapping[int, dict[str, Any]]):
    """Results by row number, read from their files on access. Of several for one row, that of the newest file counts.

    `identity` None takes that of the newest file. `on_result` is called once for each row.
    """

    def __init__(self, paths: Sequence[Path], identity: str | None = None, on_result: OnResult | None = None) -> None:
        self._paths = list(paths)
        self._identity = identity
        self._on_result = on_result
        self._read_up_to = [0] * len(self._paths)
        self._locations = array("q")
        self._count = 0
        self.refresh()

    def refresh(self) -> None:
        """Read what was appended since the last time."""
        for number, path in enumerate(self._paths):
            for row, offset, result in self._new_lines(number, path):
                if row not in self:
                    self.index(row, number, offset)
                    if self._on_result is not None:
                        self._on_result(row, result)

    def index(self, row: int, file: int, offset: int) -> None:
        """Remember that row `row` is in file number `file` at byte offset `offset`."""
        if row >= len(self._locations):
            self._locations.extend([_ABSENT] * (max(row + 1, len(self._locations) * 5 // 4) - len(self._locations)))
        self._count += self._locations[row] == _ABSENT
        self._locations[row] = offset << _FILE_BITS | file

    def __contains__(self, row: object) -> bool:
        return isinstance(row, int) and 0 <= row < len(self._locations) and self._locations[row] != _ABSENT

    def __getitem__(self, row: int) -> dict[str, Any]:
        if row not in self:
            raise KeyError(row)
        location = self._locations[row]
        with self._paths[location & ((1 << _FILE_BITS) - 1)].open("rb") as file:
            file.seek(location >> _FILE_BITS)
            result: dict[str, Any] = json.loads(file.readline())["result"]
        return result

    def __iter__(self) -> Iterator[int]:
        return (row for row, location in enumerate(self._locations) if location != _ABSENT)

    def __len__(self) -> int:
        return self._count

    def _new_lines(self, number: int, path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Row number, byte offset and result of complete lines not read yet; one torn by a kill is skipped."""
        if not path.is_file():
            return
        with path.open("rb") as file:
            if not self._read_up_to[number]:
                head = file.readline()
                if not self._matches(head):
                    return
                self._read_up_to[number] = len(head)
            file.seek(self._read_up_to[number])
            for line in file:
                if not line.endswith(b"\n"):
                    return  # it is being written
                offset = self._read_up_to[number]
                self._read_up_to[number] += len(line)
                value = _parse(line)
                row, result = value.get("row"), value.get("result")
                if isinstance(row, int) and row >= 0 and isinstance(result, dict):
                    yield row, offset, result

    def _matches(self, head: bytes) -> bool:
        if not head.endswith(b"\n"):
            return False
        found = _parse(head).get("identity")
        if self._identity is None and isinstance(found, str):
            self._identity = found
        return bool(found == self._identity)


def _parse(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
