"""Supervising a running attempt until it has ended: passing on stop requests, killing it after a deadline.

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
from .measured_memory import MEMORY
from .run_directories import EVENTS
from .stop_signals import StopSignal

OnEvent = Callable[[dict[str, Any]], None]

SAVE_SECONDS = 20.0
_MAX_SAVE_SECONDS = 600.0
_TICK_SECONDS = 0.1


class EventRelay:
    """Passes an attempt's new events to a callback; `exit_seconds` is how long it announced that saving and exiting
    may take."""

    def __init__(self, directory: Path, on_event: OnEvent | None, on_memory: OnEvent | None = None) -> None:
        self._path = directory / EVENTS
        self._on_event = on_event
        self._on_memory = on_memory
        self._offset = 0
        self.exit_seconds = 0.0

    def __call__(self) -> None:
        events, self._offset = read_events(self._path, self._offset)
        for event in events:
            if event["kind"] == "progress" and isinstance(seconds := event.get("leaving"), int | float):
                self.exit_seconds = min(seconds, _MAX_SAVE_SECONDS)
            if event["kind"] == MEMORY and self._on_memory is not None:
                self._on_memory(event)
            if self._on_event is not None:
                self._call(self._on_event, event)

    def _call(self, on_event: OnEvent, event: dict[str, Any]) -> None:
        try:
            on_event(event)
        except OSError:
            self._on_event = None  # a terminal that was closed: the job goes on without it, or saves as requested


def supervise(
    handle: AttemptHandle,
    lease: JobLease,
    stop: StopSignal,
    relay: EventRelay,
    save_seconds: float = SAVE_SECONDS,
    leave_on_stop: bool = False,
) -> int | None:
    """Wait until the attempt ends: its exit code, or None if it goes on without this worker: another one holds the job
    by now, or `stop` came and `leave_on_stop` holds.

    An attempt that is to save has `save_seconds` for it, or as long as it announced before; one that is to finish has
    no deadline, for that is still the requested work.
    """
    sent = ""
    sent_at = float("inf")
    while (code := handle.poll()) is None:
        if lease.lost or (stop and leave_on_stop):
            return None
        requested = "save" if stop or lease.job.request in ("pause", "cancel") else lease.job.request
        if requested == "save" and sent != "save":
            handle.request_stop("save")
            sent, sent_at = requested, time.monotonic()
        elif requested == "finish" and not sent:
            handle.request_stop("finish")
            sent = requested
        if time.monotonic() > sent_at + max(save_seconds, relay.exit_seconds) or stop.immediate:
            handle.kill()
        relay()
        time.sleep(_TICK_SECONDS)
    relay()
    return code
