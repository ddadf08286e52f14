"""One connection to uvicorn, with a deadline for receiving each request, however slowly its bytes come (slow loris).

Knows sockets and clocks. Knows nothing of routes. (An ASGI layer is too late for this: it is called when the headers
are complete.)
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .asgi import Refusal, RefusalFormat
from .rate_limits import client_address


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of all connections together, and of each."""

    connections: int = 1000
    """Connections at once; further ones are refused."""
    per_client: int | None = None
    """Connections at once of one address; None is no limit."""
    receive_seconds: float = 15.0
    """Longest time in which a client must send a request …"""
    bytes_per_second: float = 0.0
    """… and one second more for so many bytes received, where large files are sent; 0 grants none."""


class Connection(H11Protocol):
    """Subclassed for each server by `connection_class`."""

    connection_limits: ConnectionLimits
    refusal_response: RefusalFormat
    clients: Counter[str]
    _client: str = ""
    _deadline: asyncio.TimerHandle | None = None
    _receiving_since = 0.0
    _received_bytes = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app_state = {**self.app_state, "abort": self._abort}

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._client = client_address({"client": self.client})
        self.clients[self._client] += 1
        if len(self.connections) > self.connection_limits.connections or self._client_over_limit():
            self._refuse(Refusal(503, "too many connections; try again later.", "too_many_connections", retry_after=5))
            return
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_deadline()
        self.clients[self._client] -= 1
        if self.clients[self._client] <= 0:
            del self.clients[self._client]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._received_bytes += len(data)
        super().data_received(data)
        if self.conn.their_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED, h11.ERROR):
            self._clear_deadline()
        elif self._deadline is None:
            self._start_deadline()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and self.conn.trailing_data[0]:
            self._start_deadline()  # the next request has begun already

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is refused with a response like all other refusals."""
        self._refuse(Refusal(400, "this is not an HTTP request that can be read.", "invalid_http"))

    def _client_over_limit(self) -> bool:
        most = self.connection_limits.per_client
        return most is not None and self.clients[self._client] > most

    def _start_deadline(self) -> None:
        self._clear_deadline()
        self._receiving_since, self._received_bytes = self.loop.time(), 0
        self._deadline = self.loop.call_later(self.connection_limits.receive_seconds, self._too_slow)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        rate = self.connection_limits.bytes_per_second
        left = (
            self._receiving_since
            + self.connection_limits.receive_seconds
            + (self._received_bytes / rate if rate else 0)
            - self.loop.time()
        )
        if rate and left > 0:
            self._deadline = self.loop.call_later(left, self._too_slow)
        elif self.cycle is not None and not self.cycle.response_complete and self.cycle.response_started:
            self.transport.close()
        else:
            self._refuse(Refusal(408, "the request did not come in time.", "request_timeout"))

    def _refuse(self, refusal: Refusal) -> None:
        """Respond without the application, and close."""
        response = self.refusal_response(refusal)
        head = [(b"connection", b"close"), *response.raw_headers]
        with suppress(h11.LocalProtocolError, AttributeError):
            for event in (
                h11.Response(status_code=refusal.status, headers=head),
                h11.Data(data=bytes(response.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _abort(self) -> None:
        self.transport.abort()


def connection_class(connection_limits: ConnectionLimits, refusal_response: RefusalFormat) -> type[Connection]:
    """The connections of one server, counted together."""
    attributes = {
        "connection_limits": connection_limits,
        "refusal_response": staticmethod(refusal_response),
        "clients": Counter[str](),
    }
    return type("Connection", (Connection,), attributes)
