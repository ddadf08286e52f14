"""The FastAPI application: routes, error handlers, metrics and the guard around one engine process.

Knows which parts belong together. Knows nothing of sockets and processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, MutableMapping
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any

from camelid_core.errors import CamelidError
from fastapi import FastAPI

from camelid_serve.engine_process.client import EngineProcess
from camelid_serve.http.asgi import App, Receive, Scope, Send
from camelid_serve.http.body_limits import BodyLimits
from camelid_serve.http.guard import AccessRules, Guard

from . import adapter_routes, alpaca_cot_routes, openai_routes, status_routes
from .errors import install_error_handlers, refusal_response
from .limits import Limits
from .schemas import ErrorBody
from .slots import Slots
from .state import ServerState
from .supervisor import EngineSupervisor, ServedModels

OPEN = ("/health", "/ready")
"""Readable without a key, as they hold nobody's data; load balancers poll the latter and have no key."""
_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
Started = Callable[[CamelidError | None], None]


def build_app(
    serving: ServedModels, limits: Limits, process: EngineProcess | None = None, started: Started = lambda error: None
) -> FastAPI:
    """The application with its routes, without the guard. The engine process starts and ends with it."""
    supervisor = EngineSupervisor(serving, process or EngineProcess(), limits.stall_seconds)
    state = ServerState(supervisor, limits, Slots(limits.slots, limits.queue))
    supervisor.restarted = state.metrics.restarts.add
    supervisor.finished = state.count
    _gauges(state)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(supervisor.run(started))
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await supervisor.close()

    app = FastAPI(
        title="Camelid",
        version=version("camelid-serve"),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        responses={"4XX": {"model": ErrorBody}, "503": {"model": ErrorBody}},
    )
    app.state.serving = state
    install_error_handlers(app)
    for routes in (openai_routes, adapter_routes, status_routes, alpaca_cot_routes):
        app.include_router(routes.router)
    return app


def with_guard(app: FastAPI, keys: Iterable[str], hosts: Iterable[str], origins: Iterable[str] = ()) -> App:
    """The application as it is served: every request is counted, and passes the guard and the body limit."""
    state: ServerState = app.state.serving
    access = AccessRules(tuple(keys), frozenset(hosts), frozenset(origin.lower() for origin in origins), open=OPEN)
    bodies = BodyLimits(app, lambda method, path: state.limits.body_bytes, refusal_response)
    return _RequestCounter(Guard(bodies, access, refusal_response, _HEADERS), state, set(app.openapi()["paths"]))


class _RequestCounter:
    """Counts requests by path and status; unknown paths are counted together."""

    def __init__(self, app: App, state: ServerState, paths: set[str]) -> None:
        self._app = app
        self._state = state
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self._paths else "other"

        async def counted(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self._state.metrics.requests.add(path=path, status=str(message["status"]))
            await send(message)

        await self._app(scope, receive, counted)


def _gauges(state: ServerState) -> None:
    metrics, slots, supervisor = state.metrics, state.slots, state.supervisor
    metrics.gauge("camelid_slots", "Slots: answers that may run at once.", lambda: slots.size)
    metrics.gauge("camelid_slots_taken", "Running answers.", lambda: slots.taken)
    metrics.gauge("camelid_waiting", "Requests waiting for a slot.", lambda: slots.waiting)
    metrics.gauge("camelid_engine_up", "Whether the engine runs.", lambda: supervisor.alive)
