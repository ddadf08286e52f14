"""How far a job is: the last `progress` event of its newest attempt.

Knows one kind of event. Reads it from the end of the file, for a listing has many jobs and a long run many events.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from camelid_core.events import read_events

from .run_directories import EVENTS, attempts

_PREFIX = b'{"kind": "progress"'
_TAIL_BYTES = 64_000


@dataclass(frozen=True, slots=True)
class Progress:
    """`eta` is in seconds as of the event, `rate` in tokens per second, `time` the event's Unix time; a `total` of 0
    means that nothing was reported yet."""

    done: int = 0
    total: int = 0
    unit: str = ""
    eta: float | None = None
    rate: float | None = None
    time: float = 0.0

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Self:
        return cls(
            int(event.get("done") or 0),
            int(event.get("total") or 0),
            str(event.get("unit") or ""),
            event.get("eta"),
            event.get("tokens_per_second"),
            float(event.get("time") or 0.0),
        )

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0


def progress_of(home: Path, job_id: int) -> Progress:
    """Of a job's newest attempt; nothing done of nothing where it reported none."""
    return next(
        (Progress.from_event(_last_event(directory / EVENTS)) for directory in attempts(home, job_id)), Progress()
    )


def _last_event(path: Path) -> Mapping[str, Any]:
    for line in reversed(_lines_at_end(path)):
        if line.startswith(_PREFIX):
            with suppress(ValueError):  # torn by a kill in the middle of a write
                return dict(json.loads(line))
    events, _ = read_events(path)
    return next((event for event in reversed(events) if event.get("kind") == "progress"), {})


def _lines_at_end(path: Path) -> list[bytes]:
    """The complete lines at the end of a file."""
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES)
            file.seek(start)
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    return lines[1 if start else 0 : -1]
