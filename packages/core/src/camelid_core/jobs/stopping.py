"""Being asked to stop by a signal or by a caller.

Knows how often it was asked. Knows nothing of what stops.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Stop:
    """Called once: save and leave. Called twice: leave now. True once it was called.

    A plain counter and no `threading.Event`, whose lock a signal handler could find taken by the
    very thread it interrupted.
    """

    def __init__(self) -> None:
        self._times = 0

    def __call__(self, *_: object) -> None:
        self._times += 1

    def __bool__(self) -> bool:
        return self._times > 0

    @property
    def impatient(self) -> bool:
        return self._times > 1


@contextmanager
def on_signals(stop: Stop) -> Iterator[Stop]:
    """While entered, SIGINT and SIGTERM call `stop`; outside the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
