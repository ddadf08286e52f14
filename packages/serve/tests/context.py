"""A task context of one's own: attempts in numbered directories, and a finger on the stop button."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from camelid_core.tasks import StopRequest


class Attempt:
    """The `number`-th attempt at a job in `root`; `stop_after` rows it is asked to `stop`, and after `hold_after`
    rows, if any, it stands still: whoever is to kill it in the middle may come as late as they like."""

    def __init__(
        self, root: Path, number: int = 1, stop: StopRequest = "", stop_after: int = 0, hold_after: int = 0
    ) -> None:
        self.directory = root / f"attempt-{number}"
        self.directory.mkdir(parents=True)
        self.output = self.directory / "output"
        self.earlier_attempts = tuple(root / f"attempt-{earlier}" for earlier in range(number - 1, 0, -1))
        self.events: list[dict[str, Any]] = []
        self._stop: StopRequest = stop
        self._after = stop_after
        self._hold = hold_after

    def emit(self, kind: str, **values: Any) -> None:
        self.events.append({"kind": kind, **values})

    def stop_requested(self) -> StopRequest:
        rows = self._rows()
        if 0 < self._hold <= rows:
            threading.Event().wait()
        return self._stop if self._after <= rows else ""

    def _rows(self) -> int:
        return sum(work.read_text(encoding="utf-8").count('"row"') for work in self.directory.glob("*.work.jsonl"))
