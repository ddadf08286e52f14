"""Append-only JSON Lines of progress, and reading them while they grow.

Knows lines in a file. Knows nothing of jobs or of what a task reports.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class EventLog:
    """Writes events; each line is one JSON object with `kind` and `time` (Unix seconds)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)

    def emit(self, kind: str, **values: Any) -> None:
        line = {"kind": kind, "time": round(time.time(), 3), **values}
        self._file.write(json.dumps(_finite(line), ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._file.close()


def read_events(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Complete events from byte `offset` on, and the offset to ask from next time.

    A last line without newline is still being written and is left for the next call.
    A missing file has no events yet.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], offset
    end = data.rfind(b"\n") + 1
    return list(_parse(data[:end])), offset + end


def _parse(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.split(b"\n"):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError:
                # a kill in the middle of a write leaves one torn line, glued to the next attempt's first
                continue


def _finite(value: Any) -> Any:
    """JSON has no NaN or infinity; a diverged loss is written as its name."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
