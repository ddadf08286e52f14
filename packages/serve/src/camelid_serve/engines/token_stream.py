"""Streams of token events: the engine's thread writes to tickets, other threads read the stream at the other end.

Knows queues. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol, Self

from camelid_serve.engine import TokenEvent

if TYPE_CHECKING:
    from .decode_batch import DecodeRow  # torch, which engines out of process do without

Events = SimpleQueue[TokenEvent | Exception]


class Ticket:
    """A request in the engine: its row, its index in the `stream` call, and the queue that its events go to."""

    def __init__(self, row: DecodeRow, index: int, events: Events) -> None:
        self.row, self.index, self.events = row, index, events

    @property
    def adapter(self) -> str | None:
        return self.row.request.adapter

    def emit(self, token: int | None) -> None:
        if token is not None or self.row.finish is not None:
            self.events.put(TokenEvent(self.index, token, self.row.finish, self.row.token_logprob, self.row.error))


def fail(tickets: Iterable[Ticket], error: Exception) -> None:
    """End these requests with an error."""
    for ticket in tickets:
        ticket.events.put(error)


class Cancellable(Protocol):
    """A request in the engine, as its stream sees it."""

    cancelled: bool


class TokenStream:
    """The events of one `stream` call. Leaving it, closing it or dropping the last reference to it cancels the requests
    that still run; `wake` has the engine look for cancelled requests."""

    def __init__(self, rows: Sequence[Cancellable], events: Events, wake: Callable[[], None]) -> None:
        self._rows = rows
        self._events = events
        self._wake = wake
        self._left = len(rows)

    def __iter__(self) -> Iterator[TokenEvent]:
        return self

    def __next__(self) -> TokenEvent:
        if self._left <= 0:
            raise StopIteration
        event = self._events.get()
        while isinstance(event, TokenEvent) and event.finish is None and self._rows[event.index].cancelled:
            event = self._events.get()  # made before the engine saw that it was cancelled
        if isinstance(event, Exception):
            self.close()
            raise event
        self._left -= event.finish is not None
        return event

    def cancel(self, index: int) -> None:
        self._rows[index].cancelled = True
        self._wake()

    def close(self) -> None:
        self._left = 0
        for row in self._rows:
            row.cancelled = True
        self._wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __del__(self) -> None:
        for row in self._rows:
            row.cancelled = True
