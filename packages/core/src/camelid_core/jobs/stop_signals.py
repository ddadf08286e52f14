"""A stop request, by signal or by a caller: once to save and exit, twice to exit at once.

Knows how often it was requested. Knows nothing of what stops.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StopSignal:
    """Called once: save and exit. Called twice: exit now. True once it was called.

    A plain counter and no `threading.Event`, whose lock a signal handler could find held by the
    very thread it interrupted.
    """

    def __init__(self) -> None:
        self._times = 0

    def __call__(self, *_: object) -> None:
        self._times += 1

    def __bool__(self) -> bool:
        return self._times > 0

    @property
    def immediate(self) -> bool:
        return self._times > 1


@contextmanager
def stop_on_signals(stop: StopSignal) -> Iterator[StopSignal]:
    """While entered, SIGINT and SIGTERM call `stop`, and so does SIGHUP of a closed terminal, which may come twice
    and counts once. Outside the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def on_hangup(*_: object) -> None:
        if not stop:
            stop()

    handlers: dict[signal.Signals, Callable[..., None]] = {signal.SIGINT: stop, signal.SIGTERM: stop}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` has it
        handlers[signal.SIGHUP] = on_hangup
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
