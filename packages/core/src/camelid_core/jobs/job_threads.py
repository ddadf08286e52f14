"""The jobs that one worker runs side by side, each in a thread that waits for its process.

Knows threads. Knows nothing of jobs.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

MOST_JOBS = 64
"""What one worker runs at most, however large the machine."""


class JobThreads:
    """At most `most` at a time (None: as many as the machine has room for). Leaving waits for all of them."""

    def __init__(self, most: int | None) -> None:
        self._most = MOST_JOBS if most is None else most
        self._pool = ThreadPoolExecutor(self._most, thread_name_prefix="job")
        self._running: set[Future[object]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(wait=True)

    @property
    def has_room(self) -> bool:
        return len(self._running) < self._most

    @property
    def idle(self) -> bool:
        return not self._running

    @property
    def any_ended(self) -> bool:
        """Whether one has ended since `collect` was called."""
        return any(each.done() for each in self._running)

    def start(self, run: Callable[[], object]) -> None:
        self._running.add(self._pool.submit(run))

    def collect(self) -> None:
        """Forget those that have ended; raises what the first of them was ended by."""
        ended = {each for each in self._running if each.done()}
        self._running -= ended
        for error in filter(None, (each.exception() for each in ended)):
            raise error
