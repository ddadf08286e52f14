"""What is done already, row by row, on disk: a later attempt goes on where this one was killed.

Knows one append-only file per attempt, and of each row in it only where it stands: a million of them take
eight megabytes. Knows nothing of models or of what a row holds.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from .jsonlines import line_of

_NOWHERE = -1
_FILE_BITS = 16
"""Of a place, the lowest bits say which file it is in; a job has far fewer attempts than that."""


class WorkLog:
    """Results by row number. `identity` says what they are results of; files with another one are not taken up."""

    def __init__(self, name: str, identity: str, directory: Path, earlier: Sequence[Path] = ()) -> None:
        self.done = Done([place / name for place in (directory, *earlier)], identity)
        self._file = (directory / name).open("ab")
        self._file.write(line_of({"identity": identity}) if self._file.tell() == 0 else b"\n")
        self._file.flush()

    def add(self, row: int, result: Mapping[str, Any]) -> None:
        """Each row is out of this process once it is added."""
        begins = self._file.tell()
        self._file.write(line_of({"row": row, "result": result}))
        self._file.flush()
        self.done.note(row, 0, begins)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


class Done(Mapping[int, dict[str, Any]]):
    """Results by row number, each read from its file when it is asked for. Of several, the newest file's first."""

    def __init__(self, paths: Sequence[Path], identity: str | None = None) -> None:
        self._paths = list(paths)
        self._places = array("q")
        self._count = 0
        for number, path in enumerate(self._paths):
            for row, begins in _places(path, identity):
                if row not in self:
                    self.note(row, number, begins)

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


def _places(path: Path, identity: str | None) -> Iterator[tuple[int, int]]:
    """Number and first byte of the complete rows of a work file; a line torn by a kill is passed over."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        head = file.readline()
        if identity is not None and _parse(head).get("identity") != identity:
            return
        begins = len(head)
        for line in file:
            value = _parse(line)
            if isinstance(value.get("row"), int) and value["row"] >= 0 and "result" in value:
                yield value["row"], begins
            begins += len(line)


def _parse(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
