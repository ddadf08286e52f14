"""The task's context where several processes share a run: one per machine emits events, all stop after the same step.

Knows the contract of `TaskContext`. Knows nothing of what the task does.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from types import FrameType
from typing import Any

from camelid_core.events import EventLog
from camelid_core.tasks import StopRequest, TaskContext

from . import group
from .world import World

EVENTS = "events.jsonl"
STOP = "stop"
ORDER = "order.json"
_STOPS: tuple[StopRequest, ...] = ("", "finish", "save")


class LaunchedContext:
    """The context of a process that was launched: its recipe, directories and stop requests, read from files in the
    attempt's `ranks` directory.

    The local main process writes events there, and the process that launched it passes them on.
    """

    def __init__(self, ranks: Path) -> None:
        self._ranks = ranks
        values = json.loads((ranks / ORDER).read_text(encoding="utf-8"))
        self.recipe: dict[str, Any] = values["recipe"]
        self.directory, self.output = Path(values["directory"]), Path(values["output"])
        self.earlier_attempts = tuple(Path(path) for path in values["earlier"])
        self._events = EventLog(ranks / EVENTS)

    @staticmethod
    def write(ranks: Path, recipe: dict[str, Any], context: TaskContext) -> None:
        places = {"directory": str(context.directory), "output": str(context.output)}
        values = {"recipe": recipe, **places, "earlier": [str(path) for path in context.earlier_attempts]}
        (ranks / ORDER).write_text(json.dumps(values), encoding="utf-8")

    def emit(self, kind: str, **values: Any) -> None:
        self._events.emit(kind, **values)

    def close(self) -> None:
        self._events.close()

    def stop_requested(self) -> StopRequest:
        try:
            text = (self._ranks / STOP).read_text(encoding="ascii")
        except FileNotFoundError:
            return ""
        return next((stop for stop in _STOPS if stop == text), "")


class SharedContext:
    """The context of one of several processes. `inner` is that of the local main process; the others emit nothing.

    In the loop all processes must stop after the same step, whichever of them got the request: each calls `agree`
    after every step, and until the next one `stopping` says the same in all.
    """

    def __init__(self, world: World, inner: TaskContext | None) -> None:
        self._world = world
        self._inner = inner if world.is_local_main_process else None
        mine = (inner.directory, inner.output, inner.earlier_attempts) if inner is not None else None
        paths = group.gather_objects(mine)
        self.directory, self.output, self.earlier_attempts = paths[world.node * world.local_size]
        self._signalled: StopRequest = ""
        self._agreed: StopRequest | None = None

    def emit(self, kind: str, **values: Any) -> None:
        if self._inner is not None:
            self._inner.emit(kind, **values)

    def stop_requested(self) -> StopRequest:
        return self._requested() if self._agreed is None else self._agreed

    @property
    def agreed(self) -> bool:
        """Whether all processes agreed to stop."""
        return bool(self._agreed)

    def agree(self, *numbers: int) -> list[list[int]]:
        """Agree with all processes whether to stop; `numbers` travel along, and come back from every process."""
        found = group.gather_ints((_STOPS.index(self._requested()), *numbers))
        self._agreed = _STOPS[max(row[0] for row in found)]
        return [row[1:] for row in found]

    def listen(self) -> None:
        """Take SIGTERM as a request to save: whoever stops a machine signals every process on it."""
        signal.signal(signal.SIGTERM, self._request_save)

    def _request_save(self, number: int, frame: FrameType | None) -> None:
        self._signalled = "save"

    def _requested(self) -> StopRequest:
        return self._signalled or (self._inner.stop_requested() if self._inner is not None else "")
