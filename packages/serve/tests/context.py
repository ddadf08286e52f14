"""A task context of one's own: attempts in numbered directories, and a finger on the stop button."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from camelid_core.tasks import Stop


class Attempt:
    """The `number`-th attempt at a job in `root`; `stop_after` progress events it is asked to `stop`."""

    def __init__(self, root: Path, number: int = 1, stop: Stop = "", stop_after: int = 0) -> None:
        self.directory = root / f"attempt-{number}"
        self.directory.mkdir(parents=True)
        self.output = self.directory / "output"
        self.earlier = tuple(root / f"attempt-{earlier}" for earlier in range(number - 1, 0, -1))
        self.events: list[dict[str, Any]] = []
        self._stop: Stop = stop
        self._after = stop_after

    def emit(self, kind: str, **values: Any) -> None:
        self.events.append({"kind": kind, **values})

    def stopping(self) -> Stop:
        return self._stop if self._after <= self._rows() else ""

    def _rows(self) -> int:
        return sum(work.read_text(encoding="utf-8").count('"row"') for work in self.directory.glob("*.work.jsonl"))
