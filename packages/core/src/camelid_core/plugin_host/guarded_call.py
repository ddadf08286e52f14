"""Calls a plugin's code such that whatever it does comes back as a result: it raises, exits, prints or hangs.

Knows threads and standard output. Knows nothing of plugins.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class CallResult:
    """What a call returned, or what it raised with the traceback; neither where it was given up. `seconds` it took."""

    value: Any = None
    error: BaseException | None = None
    detail: str = ""
    seconds: float = 0.0
    given_up: bool = False

    @property
    def failure(self) -> str:
        """The error on one line; empty where there is none."""
        return one_line(self.error) if self.error is not None else ""


def one_line(error: BaseException) -> str:
    """The kind of an error and what it says."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def guarded_call(function: Callable[[], Any], name: str, timeout: float | None) -> CallResult:
    """Call `function` and wait up to `timeout` seconds, in a thread of that name, which is abandoned if it takes
    longer; without a timeout, call it in this thread. What it prints goes to stderr. KeyboardInterrupt is raised only
    in this thread: in the other one it is the function's own."""
    started = time.monotonic()
    results: list[CallResult] = []

    def run() -> None:
        try:
            value, error, detail = function(), None, ""
        except BaseException as raised:  # SystemExit too: a plugin must not end the program
            if timeout is None and isinstance(raised, KeyboardInterrupt):
                raise
            value, error, detail = None, raised, traceback.format_exc()
        results.append(CallResult(value, error, detail, time.monotonic() - started))

    with contextlib.redirect_stdout(sys.stderr):
        if timeout is None:
            run()
            return results[0]
        thread = threading.Thread(target=run, daemon=True, name=name)
        thread.start()
        thread.join(timeout)
    return results[0] if results else CallResult(seconds=time.monotonic() - started, given_up=True)


@contextlib.contextmanager
def output_to_stderr() -> Iterator[None]:
    """Send what is written to file descriptor 1 to stderr, by libraries and child processes too. In the main thread
    alone: elsewhere other threads are at work, whose output that may be."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with contextlib.suppress(OSError, ValueError):  # it may be closed
        sys.stdout.flush()
    try:
        saved = os.dup(1)
    except OSError:  # no stdout: nothing to protect
        yield
        return
    try:
        with contextlib.suppress(OSError):
            os.dup2(2, 1)
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
