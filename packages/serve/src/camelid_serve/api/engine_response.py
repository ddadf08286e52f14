"""The response to one request, from the queue for a slot to the last byte: as one JSON body or as a stream (SSE).

Knows slots, deadlines and clients that disconnect. Knows nothing of the content: a `ResponseFormat` makes the JSON.
Whatever ends a response early, the engine's request is cancelled at once; its slot is free when the engine ended it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi.responses import Response

from camelid_serve.engine import NotFinite
from camelid_serve.http.asgi import Receive, Scope, Send

from .errors import ApiError, json_bytes
from .state import ServerState
from .supervisor import EngineCall

log = logging.getLogger("camelid.api")

_KEEPALIVE_SECONDS = 15.0
_MAX_CHUNKS = 64
"""Chunks sent in one write when the client reads more slowly than the engine generates."""
_BAD_REQUESTS = ("TemplateError", "DataError", "UsageError", "ConfigError")


class _ClientStalled(Exception):
    """The client no longer reads its stream."""


class ResponseFormat(Protocol):
    """The JSON of one kind of response."""

    def full_response(self, done: Mapping[str, Any], seconds: float) -> Any:
        """The body of a response without streaming."""

    def chunks(self, event: Mapping[str, Any]) -> list[Any]:
        """The chunks of a stream for one event."""


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """A request for the engine: `rows` answers in all, `characters` of prompts, which are in the field `param`."""

    request: dict[str, Any]
    rows: int
    characters: int
    param: str
    response_format: ResponseFormat
    stream: bool = False


class EngineResponse(Response):
    """Runs the request when it is sent; an error before the first byte is an ordinary error response."""

    def __init__(self, state: ServerState, engine_request: EngineRequest) -> None:
        super().__init__()
        self._state = state
        self._engine_request = engine_request
        self._response_started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = asyncio.ensure_future(self._work(scope, send))
        gone = asyncio.ensure_future(_wait_for_disconnect(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self._state.metrics.left.add()
                return
            await work
        finally:
            gone.cancel()
            if not work.done():
                work.cancel()
                with suppress(asyncio.CancelledError):
                    await work

    async def _work(self, scope: Scope, send: Send) -> None:
        try:
            async with asyncio.timeout(self._state.limits.request_seconds):
                await self._answer(scope, send)
        except TimeoutError:
            await self._end_with_error(
                ApiError(503, "this took longer than the server allows.", "request_timeout"), send
            )
        except ApiError as error:
            await self._end_with_error(error, send)
        except _ClientStalled:
            log.info("a client left its stream unread and was cut off")

    async def _answer(self, scope: Scope, send: Send) -> None:
        engine_request, state = self._engine_request, self._state
        started = time.monotonic()
        slot = await state.slots.take(engine_request.rows)
        call = state.supervisor.submit(engine_request.request, engine_request.rows, engine_request.characters)
        call.ended.add_done_callback(lambda _: slot.release())
        try:
            await (
                self._send_stream(call, scope, send) if engine_request.stream else self._send_full(call, send, started)
            )
        finally:
            if not call.ended.done():
                call.cancel()
        state.metrics.seconds.observe(time.monotonic() - started)

    async def _send_full(self, call: EngineCall, send: Send, started: float) -> None:
        while (event := await self._next(call))["event"] != "done":
            pass
        body = json_bytes(self._engine_request.response_format.full_response(event, time.monotonic() - started))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        self._response_started = True
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _send_stream(self, call: EngineCall, scope: Scope, send: Send) -> None:
        event = await self._next(call)
        self._response_started = True
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while True:
            chunks = self._engine_request.response_format.chunks(event)
            while event["event"] != "done" and call.waiting and len(chunks) < _MAX_CHUNKS:
                event = await self._next(call)
                chunks += self._engine_request.response_format.chunks(event)
            if event["event"] == "done":
                await self._write(_sse(chunks) + b"data: [DONE]\n\n", scope, send, more=False)
                return
            if chunks:
                await self._write(_sse(chunks), scope, send)
            while (following := await self._soon(call)) is None:
                await self._write(b": still here\n\n", scope, send)
            event = following

    async def _soon(self, call: EngineCall) -> dict[str, Any] | None:
        """The next event, or None after a while without one."""
        try:
            async with asyncio.timeout(_KEEPALIVE_SECONDS):
                return await self._next(call)
        except TimeoutError:
            return None

    async def _next(self, call: EngineCall) -> dict[str, Any]:
        event = await call.next()
        if event["event"] == "error":
            raise _engine_error(event, self._engine_request.param)
        return event

    async def _write(self, body: bytes, scope: Scope, send: Send, more: bool = True) -> None:
        """Send, unless the client leaves it unread for too long: then the connection is closed."""
        try:
            async with asyncio.timeout(self._state.limits.reader_seconds):
                await send({"type": "http.response.body", "body": body, "more_body": more})
        except TimeoutError:
            self._state.metrics.left.add()
            scope.get("state", {}).get("abort", lambda: None)()
            await asyncio.sleep(0)  # so that the connection knows before this task ends
            raise _ClientStalled from None

    async def _end_with_error(self, error: ApiError, send: Send) -> None:
        """An error before the first byte is raised; after it, it is the stream's last event."""
        if not self._response_started:
            raise error
        with suppress(OSError):
            body = b"data: " + json_bytes(error.body) + b"\n\n"
            await send({"type": "http.response.body", "body": body, "more_body": False})


async def _wait_for_disconnect(receive: Receive) -> None:
    """Return when the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _sse(chunks: list[Any]) -> bytes:
    return b"".join(b"data: " + json_bytes(chunk) + b"\n\n" for chunk in chunks)


def _engine_error(event: Mapping[str, Any], param: str) -> ApiError:
    kind, message = str(event.get("type")), str(event["message"])
    if kind == "PromptTooLong":
        return ApiError(400, message, "context_length_exceeded", param)
    if kind in _BAD_REQUESTS:
        return ApiError(400, message, "invalid_value", param)
    if kind == NotFinite.__name__:
        return ApiError(500, message, "not_finite")
    if kind == "ShuttingDown":
        return ApiError(503, message, "shutting_down", retry_after=30)
    number = secrets.token_hex(4)
    log.error("error %s: %s", number, message)
    return ApiError(
        503, f"the engine failed; the server's log says why under {number}.", "engine_failed", retry_after=5
    )
