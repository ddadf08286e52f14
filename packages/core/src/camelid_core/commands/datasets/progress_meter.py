"""Progress of a long pass over rows, or of a download: how much, how fast, how long still.

Knows clocks and counts. Knows nothing of what is done with the rows.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from camelid_core.commands.output import ProgressPrinter
from camelid_core.datasets.dataset import Dataset, DownloadProgress

_BLOCK = _MEGABYTE = 1 << 20
_SILENT_SECONDS = 1.0
"""Seconds of work that need no progress."""


class RowProgressMeter:
    """Prints `done` of `total` rows with rate and time left; used as `with RowProgressMeter(…) as meter`."""

    def __init__(self, what: str, quiet: bool = False) -> None:
        self._what = what
        self._printer = ProgressPrinter(quiet)
        self._began = time.monotonic()

    def __enter__(self) -> RowProgressMeter:
        return self

    def __exit__(self, *_: object) -> None:
        self._printer.close()

    def __call__(self, done: int, total: int, what: str = "") -> None:
        spent = time.monotonic() - self._began
        if spent < _SILENT_SECONDS:
            return
        rate = done / spent
        left = (total - done) / rate if total > done and rate else None
        unit = f"rows {what or self._what}, {rate:,.0f} rows/s"
        known = total if total >= done else None if sys.stderr.isatty() else "?"
        event = {"kind": "progress", "time": time.time(), "done": done, "total": known, "unit": unit, "eta": left}
        self._printer(event)

    def restart(self) -> None:
        """Another pass begins: its rate is its own."""
        self._began = time.monotonic()

    def per_source(self) -> Callable[[str, int, int], None]:
        """As `mixing.mix` calls it: the source's name with every step."""
        current = ""

        def step(name: str, done: int, total: int) -> None:
            nonlocal current
            if name != current:
                current = name
                self.restart()
            self(done, total, f"of {name} counted")

        return step


def expected_rows(dataset: Dataset) -> int:
    """How many rows a pass will see, for the time left: as declared, or a file's lines; 0 if nobody knows."""
    path = Path(dataset.source)
    if dataset.rows or path.suffix.lower() not in (".jsonl", ".tsv", ".csv") or not path.is_file():
        return dataset.rows
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK), b""))


def progress_in_megabytes(printer: ProgressPrinter) -> DownloadProgress:
    """Progress in megabytes, with the time left by the speed of this run alone."""
    began: dict[str, tuple[float, int]] = {}

    def progress(name: str, done: int, total: int) -> None:
        now = time.time()
        start, had = began.setdefault(name, (now, done))
        left = (now - start) / max(done - had, 1) * (total - done)
        whole = -(-total // _MEGABYTE)
        event = {
            "time": now,
            "done": whole if done == total else done // _MEGABYTE,
            "total": whole,
            "eta": left if done > had else None,
        }
        printer({"kind": "progress", "unit": f"MB of {name}", **event})

    return progress
