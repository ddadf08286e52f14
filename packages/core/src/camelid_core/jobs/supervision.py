"""Watching over a running attempt until it has ended.

Knows requests, deadlines and events. Knows nothing of results or publication.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from camelid_core.events import read_events

from .executors import AttemptHandle
from .lease import JobLease
from .run_directories import EVENTS
from .stop_signals import StopSignal

OnEvent = Callable[[dict[str, Any]], None]

SAVE_SECONDS = 20.0
_MAX_SAVE_SECONDS = 600.0
_TICK_SECONDS = 0.1


class EventRelay:
    """Hands an attempt's new events to a callback; `leaving` are the seconds it said that it may take to leave."""

    def __init__(self, directory: Path, on_event: OnEvent | None) -> None:
        self._path = directory / EVENTS
        self._on_event = on_event
        self._offset = 0
        self.leaving = 0.0

    def __call__(self) -> None:
        events, self._offset = read_events(self._path, self._offset)
        for event in events:
            if event["kind"] == "progress" and isinstance(seconds := event.get("leaving"), int | float):
                self.leaving = min(seconds, _MAX_SAVE_SECONDS)
            if self._on_event is not None:
                self._tell(self._on_event, event)

    def _tell(self, on_event: OnEvent, event: dict[str, Any]) -> None:
        try:
            on_event(event)
        except OSError:
            self._on_event = None  # a terminal that was closed: the job goes on without it, or saves as it is asked to


def supervise(
    handle: AttemptHandle, lease: JobLease, stop: StopSignal, relay: EventRelay, save_seconds: float = SAVE_SECONDS
) -> int | None:
    """Wait until the attempt ends: its exit code, or None if the job is not ours any more.

    Whoever is asked to save has `save_seconds` for it, or as long as it said before that it may take; to finish there
    is no deadline, for that is still the work that was wanted.
    """
    asked = ""
    since = float("inf")
    while (code := handle.poll()) is None:
        if lease.lost:
            return None
        wanted = "save" if stop or lease.job.request == "cancel" else lease.job.request
        if wanted == "save" and asked != "save":
            handle.request_stop("save")
            asked, since = wanted, time.monotonic()
        elif wanted == "finish" and not asked:
            handle.request_stop("finish")
            asked = wanted
        if time.monotonic() > since + max(save_seconds, relay.leaving) or stop.immediate:
            handle.kill()
        relay()
        time.sleep(_TICK_SECONDS)
    relay()
    return code
