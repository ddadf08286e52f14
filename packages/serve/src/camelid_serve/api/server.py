"""uvicorn, with the patience of a server that strangers talk to: deadlines, limits, a tidy end.

Knows sockets and signals. Knows nothing of routes.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from contextlib import suppress
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .errors import ApiError
from .guard import App
from .settings import Limits
from .state import State

_ABORT_BEFORE = 2.0
"""Seconds before the end of a drain when what still runs is ended, so that its client hears of it."""


class Connection(H11Protocol):
    """One connection. A request must have come whole within its time, however it trickles."""

    receive_seconds = 15.0
    most = 1000

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app_state = {**self.app_state, "abort": self._abort}
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._refuse(ApiError(503, "too many connections; try again later.", "too_many_connections", retry_after=5))
            return
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.conn.their_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED, h11.ERROR):
            self._stop_waiting()
        elif self._deadline is None:
            self._await_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and self.conn.trailing_data[0]:
            self._await_request()  # the next request has begun already

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is refused in the same shape as everything else."""
        self._refuse(ApiError(400, "this is not an HTTP request that can be read.", "invalid_http"))

    def _await_request(self) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(self.receive_seconds, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self.cycle is not None and not self.cycle.response_complete and self.cycle.response_started:
            self.transport.close()
            return
        self._refuse(ApiError(408, "the request did not come in time.", "request_timeout"))

    def _refuse(self, error: ApiError) -> None:
        """Answer past the application, and close."""
        response = error.response()
        head = [(b"connection", b"close"), *response.raw_headers]
        with suppress(h11.LocalProtocolError, AttributeError):
            for event in (
                h11.Response(status_code=error.status_code, headers=head),
                h11.Data(data=bytes(response.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _abort(self) -> None:
        self.transport.abort()


class Server(uvicorn.Server):
    """Told to stop, it takes nothing more, lets answers end, and tells the clients of those that do not."""

    def __init__(self, config: uvicorn.Config, state: State) -> None:
        super().__init__(config)
        self._state = state

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.drain()
        patience = max(0.0, self._state.limits.drain_seconds - _ABORT_BEFORE)
        ending = asyncio.get_running_loop().call_later(patience, self._state.abort)
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()


def server(app: App, state: State) -> Server:
    """A server for `app`; `run(sockets=[…])` it."""
    limits = state.limits
    _allow_files(limits)
    config = uvicorn.Config(
        app,
        http=_connections(limits),
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who asks is who connects: a header cannot say otherwise
        timeout_keep_alive=20,  # aiohttp keeps a connection for 15 s, and must be the one that closes it
        timeout_graceful_shutdown=round(limits.drain_seconds),
        backlog=min(4096, limits.connections),
    )
    return Server(config, state)


def _connections(limits: Limits) -> type[Connection]:
    bounds = {"receive_seconds": limits.receive_seconds, "most": limits.connections}
    return type("Connection", (Connection,), bounds)


def _allow_files(limits: Limits) -> None:
    """A file descriptor per connection, as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.connections + 200
    if soft != resource.RLIM_INFINITY and soft < wanted:
        ceiling = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))
