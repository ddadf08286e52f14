"""Progress of work that goes through a model's tensors: how many are done, how fast, how long still.

Knows clocks and counts. Knows nothing of what is done with the tensors.
"""

from __future__ import annotations

import time

from .output import ProgressPrinter

_SILENT_SECONDS = 1.0
"""Seconds of work that need no progress."""


class TensorProgressMeter:
    """Prints `done` of `total` tensors with rate and time left; used as `with TensorProgressMeter() as meter`."""

    def __init__(self, quiet: bool = False) -> None:
        self._printer = ProgressPrinter(quiet)
        self._began = time.monotonic()

    def __enter__(self) -> TensorProgressMeter:
        return self

    def __exit__(self, *_: object) -> None:
        self._printer.close()

    def __call__(self, done: int, total: int, name: str) -> None:
        spent = time.monotonic() - self._began
        if spent < _SILENT_SECONDS:
            return
        rate = done / spent
        unit = f"tensors, {rate:,.1f} tensors/s"
        left = (total - done) / rate if rate else None
        self._printer(
            {"kind": "progress", "time": time.time(), "done": done, "total": total, "unit": unit, "eta": left}
        )
