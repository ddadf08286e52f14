"""uvicorn for the door, with TLS, and the thread that takes jobs from machines that fell silent.

Knows settings. Knows nothing of routes.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvicorn
from camelid_core.errors import JobError
from camelid_core.jobs.store import JobStore

from camelid_serve.http.asgi import App
from camelid_serve.http.server import uvicorn_config

from .certificate import ServerIdentity
from .door import CONNECTIONS, refusal_response

_SWEEP_SECONDS = 2.0
_GRACE_SECONDS = 5
_KEEP_ALIVE_SECONDS = 30


class DoorServer(uvicorn.Server):
    """`run(sockets=[…])` it. While it runs, jobs whose lease is over are queued again, though no worker is here."""

    def __init__(self, config: uvicorn.Config, store: JobStore) -> None:
        super().__init__(config)
        self._store = store
        self._over = threading.Event()

    def run(self, sockets: Any = None) -> None:
        thread = threading.Thread(target=self._sweep, name="sweep", daemon=True)
        thread.start()
        try:
            super().run(sockets)
        finally:
            self._over.set()
            thread.join()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answers under way may end. TLS would wait for the other side to say goodbye, which an idle agent does not."""
        self._abort(lambda connection: connection.cycle is None or connection.cycle.response_complete)
        await super().shutdown(sockets)
        self._abort(lambda connection: True)
        await asyncio.sleep(0.01)  # that closes their sockets

    def _abort(self, which: Callable[[Any], bool]) -> None:
        for connection in list(self.server_state.connections):
            if which(connection):
                connection.transport.abort()

    def _sweep(self) -> None:
        while not self._over.wait(_SWEEP_SECONDS):
            with suppress(JobError):  # locked for long: the next time
                for job in self._store.sweep_lost():
                    sys.stderr.write(f"camelid machines: job {job.id} {job.state}. {job.error}\n")


def door_server(app: App, store: JobStore, identity: ServerIdentity | None) -> DoorServer:
    """A server for the door's application, with the certificate of `identity`; without TLS where it is None."""
    tls: dict[str, Any] = {}
    if identity is not None:
        tls = {"ssl_certfile": str(identity.certificate), "ssl_keyfile": str(identity.key)}
    config = uvicorn_config(
        app,
        CONNECTIONS,
        refusal_response,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        **tls,
    )
    return DoorServer(config, store)
