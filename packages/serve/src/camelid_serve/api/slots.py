"""Slots for running answers, and a bounded queue for them (FIFO); with a full queue, requests are refused with 429.

Knows weights and waiting. Knows nothing of requests. Used in one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from .errors import ApiError

_SMOOTHING = 0.9
"""Weight of the past in the moving average of how long a slot is held."""


class Slots:
    """`size` slots to take and release; at most `queue` requests may wait."""

    def __init__(self, size: int, queue: int) -> None:
        self.size, self.queue = size, queue
        self.taken = 0
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._mean_seconds = 1.0
        self._closed: ApiError | None = None

    @property
    def waiting(self) -> int:
        return len(self._queue)

    async def take(self, weight: int) -> Slot:
        """Wait for `weight` slots (all of them, if there are fewer).

        Raises:
            ApiError: the queue is full (429), or closed.
        """
        weight = min(weight, self.size)
        if self._closed is not None:
            raise self._closed
        if not self._queue and self.taken + weight <= self.size:
            self.taken += weight
            return Slot(self, weight)
        if len(self._queue) >= self.queue:
            seconds = min(60.0, self._mean_seconds * (1 + len(self._queue) / self.size))
            raise ApiError(429, "too many requests are waiting; try again later.", "queue_full", retry_after=seconds)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((weight, turn))
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.release(weight)  # its turn came while it was cancelled
            else:
                self._queue = deque(each for each in self._queue if each[1] is not turn)
                self._admit()
            raise
        return Slot(self, weight)

    def release(self, weight: int, seconds: float | None = None) -> None:
        self.taken -= weight
        if seconds is not None:
            self._mean_seconds = _SMOOTHING * self._mean_seconds + (1 - _SMOOTHING) * seconds
        self._admit()

    def close(self, reason: ApiError) -> None:
        """Give out no more slots; waiting requests get `reason`."""
        self._closed = reason
        line, self._queue = self._queue, deque()
        for _, turn in line:
            if not turn.done():
                turn.set_exception(reason)

    def _admit(self) -> None:
        while self._queue and self.taken + self._queue[0][0] <= self.size:
            weight, turn = self._queue.popleft()
            if not turn.done():
                self.taken += weight
                turn.set_result(None)


class Slot:
    """Taken slots; releasing them twice is harmless."""

    def __init__(self, slots: Slots, weight: int) -> None:
        self._slots: Slots | None = slots
        self._weight = weight
        self._since = time.monotonic()

    def release(self) -> None:
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.release(self._weight, time.monotonic() - self._since)
