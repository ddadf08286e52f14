"""Watching over a running attempt until it has ended.

Knows requests, deadlines and events. Knows nothing of results or publication.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from camelid_core.events import read_events

from .executors import Handle
from .files import EVENTS
from .lease import Lease
from .stopping import Stop

OnEvent = Callable[[dict[str, Any]], None]

SAVE_SECONDS = 20.0
_TICK_SECONDS = 0.1


class Relay:
    """Hands an attempt's new events to a callback."""

    def __init__(self, directory: Path, on_event: OnEvent | None) -> None:
        self._path = directory / EVENTS
        self._on_event = on_event
        self._offset = 0

    def __call__(self) -> None:
        if self._on_event is not None:
            events, self._offset = read_events(self._path, self._offset)
            for event in events:
                self._on_event(event)


def supervise(handle: Handle, lease: Lease, stop: Stop, relay: Relay, save_seconds: float = SAVE_SECONDS) -> int | None:
    """Wait until the attempt ends: its exit code, or None if the job is not ours any more.

    Whoever is asked to save has `save_seconds` for it; to finish there is no deadline, for that is
    still the work that was wanted.
    """
    asked = ""
    deadline = float("inf")
    while (code := handle.poll()) is None:
        if lease.lost:
            return None
        wanted = "save" if stop or lease.job.request == "cancel" else lease.job.request
        if wanted == "save" and asked != "save":
            handle.ask("save")
            asked, deadline = wanted, time.monotonic() + save_seconds
        elif wanted == "finish" and not asked:
            handle.ask("finish")
            asked = wanted
        if time.monotonic() > deadline or stop.impatient:
            handle.end()
        relay()
        time.sleep(_TICK_SECONDS)
    relay()
    return code
