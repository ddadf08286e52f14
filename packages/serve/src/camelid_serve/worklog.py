"""What is done already, row by row, on disk: a later attempt goes on where this one was killed.

Knows one append-only file per attempt. Knows nothing of models or of what a row holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self


class WorkLog:
    """Results by row number. `identity` says what they are results of; files with another one are not taken up."""

    def __init__(self, name: str, identity: str, directory: Path, earlier: Sequence[Path] = ()) -> None:
        self.done: dict[int, dict[str, Any]] = {}
        for place in (directory, *earlier):
            for row, result in read_work(place / name, identity):
                self.done.setdefault(row, result)
        path = directory / name
        fresh = not path.exists()
        self._file = path.open("a", encoding="utf-8", buffering=1)  # line-buffered: each row is out once it is written
        self._file.write(json.dumps({"identity": identity}) + "\n" if fresh else "\n")

    def add(self, row: int, result: Mapping[str, Any]) -> None:
        self._file.write(json.dumps({"row": row, "result": result}, ensure_ascii=False) + "\n")
        self.done[row] = dict(result)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def read_work(path: Path, identity: str | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Complete rows of a work file, in the order they were done; a line torn by a kill is passed over."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return
    first = _parse(lines[0])
    if identity is not None and first.get("identity") != identity:
        return
    for line in lines[1:]:
        value = _parse(line)
        if "row" in value and "result" in value:
            yield value["row"], value["result"]


def _parse(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
