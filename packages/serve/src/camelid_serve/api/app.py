"""The application: routes, errors and the guard, put together around one engine.

Knows what belongs together. Knows nothing of sockets and processes.
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
from camelid_serve.http.body_limits import Bodies
from camelid_serve.http.guard import Access, Guard

from . import adapter_routes, alpaca_cot_routes, openai_routes, status_routes
from .errors import install, shape
from .limits import Limits
from .schemas import ErrorBody
from .slots import Slots
from .state import State
from .supervisor import Resident, Serving

OPEN = ("/health", "/ready")
"""Open to all, as they hold no one's data; the latter is what load balancers ask, and they have no key."""
_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
Started = Callable[[CamelidError | None], None]


def build(
    serving: Serving, limits: Limits, process: EngineProcess | None = None, started: Started = lambda error: None
) -> FastAPI:
    """Routes, not yet guarded. The engine is started with the application and ends with it."""
    resident = Resident(serving, process or EngineProcess(), limits.stall_seconds)
    state = State(resident, limits, Slots(limits.slots, limits.queue))
    resident.restarted = state.metrics.restarts.add
    resident.finished = state.count
    _gauges(state)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(resident.run(started))
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await resident.close()

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
    install(app)
    for routes in (openai_routes, adapter_routes, status_routes, alpaca_cot_routes):
        app.include_router(routes.router)
    return app


def guarded(app: FastAPI, keys: Iterable[str], hosts: Iterable[str], origins: Iterable[str] = ()) -> App:
    """The application as it is served: every request is checked, then counted."""
    state: State = app.state.serving
    access = Access(tuple(keys), frozenset(hosts), frozenset(origin.lower() for origin in origins), open=OPEN)
    bodies = Bodies(app, lambda method, path: state.limits.body_bytes, shape)
    return _Counted(Guard(bodies, access, shape, _HEADERS), state, set(app.openapi()["paths"]))


class _Counted:
    """Counts requests by path and status; what is no path of ours is counted together."""

    def __init__(self, app: App, state: State, paths: set[str]) -> None:
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


def _gauges(state: State) -> None:
    metrics, slots, resident = state.metrics, state.slots, state.resident
    metrics.gauge("camelid_slots", "Answers that may be under way at once.", lambda: slots.size)
    metrics.gauge("camelid_slots_taken", "Answers under way.", lambda: slots.taken)
    metrics.gauge("camelid_waiting", "Requests waiting for a slot.", lambda: slots.waiting)
    metrics.gauge("camelid_engine_up", "Whether the engine runs.", lambda: resident.alive)
