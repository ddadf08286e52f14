"""One request from its turn in the line to its last byte: in one piece or as a stream.

Knows slots, deadlines and clients that leave. Knows nothing of what is said: a `Form` puts it into words.
Whatever ends a reply early, its engine is told at once, and its slot is free when the engine has let go.
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

from camelid_serve.http.asgi import Receive, Scope, Send

from .errors import ApiError, dump
from .state import State
from .supervisor import Call

log = logging.getLogger("camelid.api")

_QUIET_SECONDS = 15.0
_TOGETHER = 64
"""Chunks sent in one go when the client reads more slowly than the engine writes."""
_BAD_REQUESTS = ("TemplateError", "DataError", "UsageError", "ConfigError")


class _Unread(Exception):
    """The client takes nothing any more."""


class Form(Protocol):
    """How a kind of request is answered, as JSON values."""

    def whole(self, done: Mapping[str, Any], seconds: float) -> Any:
        """The answer in one piece."""

    def chunks(self, event: Mapping[str, Any]) -> list[Any]:
        """What a stream says at an event."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the engine takes it; `rows` answers in all, `characters` to read, `param` where they stand."""

    request: dict[str, Any]
    rows: int
    characters: int
    param: str
    form: Form
    stream: bool = False


class Reply(Response):
    """Does the work when it is sent; refusals before the first byte are ordinary errors."""

    def __init__(self, state: State, asked: Asked) -> None:
        super().__init__()
        self._state = state
        self._asked = asked
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = asyncio.ensure_future(self._work(scope, send))
        gone = asyncio.ensure_future(_departure(receive))
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
            await self._end_badly(ApiError(503, "this took longer than the server allows.", "request_timeout"), send)
        except ApiError as error:
            await self._end_badly(error, send)
        except _Unread:
            log.info("a client left its stream unread and was cut off")

    async def _answer(self, scope: Scope, send: Send) -> None:
        asked, state = self._asked, self._state
        started = time.monotonic()
        slot = await state.slots.take(asked.rows)
        call = state.resident.ask(asked.request, asked.rows, asked.characters)
        call.ended.add_done_callback(lambda _: slot.release())
        try:
            await (self._stream(call, scope, send) if asked.stream else self._whole(call, send, started))
        finally:
            if not call.ended.done():
                call.cancel()
        state.metrics.seconds.observe(time.monotonic() - started)

    async def _whole(self, call: Call, send: Send, started: float) -> None:
        while (event := await self._next(call))["event"] != "done":
            pass
        body = dump(self._asked.form.whole(event, time.monotonic() - started))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        self._begun = True
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _stream(self, call: Call, scope: Scope, send: Send) -> None:
        event = await self._next(call)
        self._begun = True
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while True:
            chunks = self._asked.form.chunks(event)
            while event["event"] != "done" and call.waiting and len(chunks) < _TOGETHER:
                event = await self._next(call)
                chunks += self._asked.form.chunks(event)
            if event["event"] == "done":
                await self._write(_sse(chunks) + b"data: [DONE]\n\n", scope, send, more=False)
                return
            if chunks:
                await self._write(_sse(chunks), scope, send)
            while (following := await self._soon(call)) is None:
                await self._write(b": still here\n\n", scope, send)
            event = following

    async def _soon(self, call: Call) -> dict[str, Any] | None:
        """The next event, or None after a while without one."""
        try:
            async with asyncio.timeout(_QUIET_SECONDS):
                return await self._next(call)
        except TimeoutError:
            return None

    async def _next(self, call: Call) -> dict[str, Any]:
        event = await call.next()
        if event["event"] == "error":
            raise _engine_error(event, self._asked.param)
        return event

    async def _write(self, body: bytes, scope: Scope, send: Send, more: bool = True) -> None:
        """Send, unless the client leaves it unread for too long: then the connection is cut."""
        try:
            async with asyncio.timeout(self._state.limits.reader_seconds):
                await send({"type": "http.response.body", "body": body, "more_body": more})
        except TimeoutError:
            self._state.metrics.left.add()
            scope.get("state", {}).get("abort", lambda: None)()
            await asyncio.sleep(0)  # so that the connection knows before this task ends
            raise _Unread from None

    async def _end_badly(self, error: ApiError, send: Send) -> None:
        """An error before the first byte is the caller's; after it, it is the stream's last event."""
        if not self._begun:
            raise error
        with suppress(OSError):
            body = b"data: " + dump(error.body) + b"\n\n"
            await send({"type": "http.response.body", "body": body, "more_body": False})


async def _departure(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _sse(chunks: list[Any]) -> bytes:
    return b"".join(b"data: " + dump(chunk) + b"\n\n" for chunk in chunks)


def _engine_error(event: Mapping[str, Any], param: str) -> ApiError:
    kind, message = str(event.get("type")), str(event["message"])
    if kind == "PromptTooLong":
        return ApiError(400, message, "context_length_exceeded", param)
    if kind in _BAD_REQUESTS:
        return ApiError(400, message, "invalid_value", param)
    if kind == "ShuttingDown":
        return ApiError(503, message, "shutting_down", retry_after=30)
    number = secrets.token_hex(4)
    log.error("error %s: %s", number, message)
    return ApiError(
        503, f"the engine failed; the server's log says why under {number}.", "engine_failed", retry_after=5
    )
