"""uvicorn with a graceful shutdown: running answers may end, and the clients of those that do not get an error.

Knows draining. Knows nothing of routes.
"""

from __future__ import annotations

import asyncio
import socket

import uvicorn

from camelid_serve.http.asgi import App
from camelid_serve.http.connection import ConnectionLimits
from camelid_serve.http.server import uvicorn_config

from .errors import refusal_response
from .state import ServerState

_ABORT_BEFORE = 2.0
"""Seconds before the end of a drain when requests that still run are ended, so that their clients get an error."""


class ApiServer(uvicorn.Server):
    """When it is stopped, it takes no more requests, lets answers end, and sends an error to clients of those that do
    not."""

    def __init__(self, config: uvicorn.Config, state: ServerState) -> None:
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


def server(app: App, state: ServerState) -> ApiServer:
    """A server for `app`; `run(sockets=[…])` it."""
    limits = state.limits
    config = uvicorn_config(
        app,
        ConnectionLimits(limits.connections, receive_seconds=limits.receive_seconds),
        refusal_response,
        timeout_keep_alive=20,  # aiohttp keeps a connection for 15 s, and must be the one that closes it
        timeout_graceful_shutdown=round(limits.drain_seconds),
    )
    return ApiServer(config, state)
