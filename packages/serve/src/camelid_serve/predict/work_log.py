"""What is done already, row by row, on disk: a later attempt goes on where this one was killed.

Knows one append-only file per attempt, and of each row in it only where it stands: a million of them take
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

from camelid_serve.json_lines import line_of

_NOWHERE = -1
_FILE_BITS = 16
"""Of a place, the lowest bits say which file it is in; a job has far fewer attempts than that."""
SYNC_SECONDS = 2.0
"""Rows go out of this process one by one and to the disk in groups: to wait for it at each row would cost a quick
model a tenth of its time, and a row that a power cut takes is only answered again."""

Result = Mapping[str, Any]
Seen = Callable[[int, Result], None]


class WorkLog:
    """Results by row number. `identity` says what they are results of; files with another one are not taken up."""

    def __init__(self, name: str, identity: str, directory: Path, earlier: Sequence[Path] = ()) -> None:
        self.done = Done([place / name for place in (directory, *earlier)], identity)
        self._lock = threading.Lock()
        self._file = open_private(directory / name, "ab")
        self._file.write(line_of({"identity": identity}) if self._file.tell() == 0 else b"\n")
        self._sync()
        fsync_directory(directory)

    def add(self, row: int, result: Result) -> None:
        """Each row is out of this process once it is added, and no kill of ours takes it back."""
        with self._lock:
            begins = self._file.tell()
            self._file.write(line_of({"row": row, "result": result}))
            self._file.flush()
            self.done.note(row, 0, begins)
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


class Done(Mapping[int, dict[str, Any]]):
    """Results by row number, each read from its file when it is asked for. Of several, the newest file's first.

    `identity` None takes that of the newest file. `seen` is told of each row once.
    """

    def __init__(self, paths: Sequence[Path], identity: str | None = None, seen: Seen | None = None) -> None:
        self._paths = list(paths)
        self._identity = identity
        self._seen = seen
        self._read = [0] * len(self._paths)
        self._places = array("q")
        self._count = 0
        self.refresh()

    def refresh(self) -> None:
        """Take up what was added since; what was read before is not read again."""
        for number, path in enumerate(self._paths):
            for row, begins, result in self._news(number, path):
                if row not in self:
                    self.note(row, number, begins)
                    if self._seen is not None:
                        self._seen(row, result)

    def note(self, row: int, file: int, begins: int) -> None:
        """Row `row` stands in a file from this byte on."""
        if row >= len(self._places):
            self._places.extend([_NOWHERE] * (max(row + 1, len(self._places) * 5 // 4) - len(self._places)))
        self._count += self._places[row] == _NOWHERE
        self._places[row] = begins << _FILE_BITS | file

    def __contains__(self, row: object) -> bool:
        return isinstance(row, int) and 0 <= row < len(self._places) and self._places[row] != _NOWHERE

    def __getitem__(self, row: int) -> dict[str, Any]:
        if row not in self:
            raise KeyError(row)
        place = self._places[row]
        with self._paths[place & ((1 << _FILE_BITS) - 1)].open("rb") as file:
            file.seek(place >> _FILE_BITS)
            result: dict[str, Any] = json.loads(file.readline())["result"]
        return result

    def __iter__(self) -> Iterator[int]:
        return (row for row, place in enumerate(self._places) if place != _NOWHERE)

    def __len__(self) -> int:
        return self._count

    def _news(self, number: int, path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Number, first byte and result of the whole lines behind what was read; one torn by a kill is passed over."""
        if not path.is_file():
            return
        with path.open("rb") as file:
            if not self._read[number]:
                head = file.readline()
                if not self._ours(head):
                    return
                self._read[number] = len(head)
            file.seek(self._read[number])
            for line in file:
                if not line.endswith(b"\n"):
                    return  # it is being written
                begins = self._read[number]
                self._read[number] += len(line)
                value = _parse(line)
                row, result = value.get("row"), value.get("result")
                if isinstance(row, int) and row >= 0 and isinstance(result, dict):
                    yield row, begins, result

    def _ours(self, head: bytes) -> bool:
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
