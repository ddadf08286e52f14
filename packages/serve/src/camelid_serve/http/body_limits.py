"""Size limits of request bodies: one for each route, enforced while the body arrives.

Knows bytes, methods and paths. Knows nothing of the content.
"""

from __future__ import annotations

import math
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from .asgi import App, Headers, Receive, Refusal, RefusalFormat, Scope, Send

_MAX_DRAINED_BYTES = 32_000_000
"""Most bytes of a refused body that are read and dropped: a client that still sends would not read the response."""
BodyLimit = Callable[[str, str], int | None]
"""Most bytes of a body by method and path; None where there is no such route."""


@dataclass(frozen=True)
class BodyLimits:
    """Passes to `app` what `body_limit` allows. A body with a Content-Length is refused before it is read; one without
    is cut off, and whatever the application responds to that is dropped."""

    app: App
    body_limit: BodyLimit
    refusal_response: RefusalFormat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = self.body_limit(scope["method"], scope["path"])
        if most is None:
            refusal = Refusal(404, "there is nothing here under that name.", "not_found")
            await self.refusal_response(refusal)(scope, receive, send)
        elif (length := _content_length(Headers(scope["headers"]).one(b"content-length"))) > most:
            if length <= most + _MAX_DRAINED_BYTES:
                await _drain(receive, int(length))
            await self._refuse(most, scope, receive, send)
        else:
            await self._forward_limited(most, scope, receive, send)

    async def _forward_limited(self, most: int, scope: Scope, receive: Receive, send: Send) -> None:
        received, over, answered = 0, False, False

        async def counted() -> MutableMapping[str, Any]:
            nonlocal received, over
            message = await receive() if not over else {"type": "http.disconnect"}
            received += len(message.get("body", b""))
            if received > most:
                over = True
                return {"type": "http.disconnect"}
            return message

        async def first(message: MutableMapping[str, Any]) -> None:
            nonlocal answered
            if answered or not over:
                answered = True
                await send(message)

        try:
            await self.app(scope, counted, first)
        except Exception:
            if not over:
                raise
        if over and not answered:
            await _drain(receive, _MAX_DRAINED_BYTES)
            await self._refuse(most, scope, receive, send)

    async def _refuse(self, most: int, scope: Scope, receive: Receive, send: Send) -> None:
        message = f"the request is larger than the {most:,} bytes that this server takes."
        await self.refusal_response(Refusal(413, message, "request_too_large"))(scope, receive, send)


async def _drain(receive: Receive, most: int) -> None:
    more = True
    while more and most > 0:
        message = await receive()
        most -= len(message.get("body", b"")) or 1
        more = message.get("more_body", False)


def _content_length(header: str) -> float:
    """The length in a Content-Length header: 0 if it is empty, infinite if it is no number."""
    if not header:
        return 0
    return int(header) if header.isascii() and header.isdecimal() and len(header) < 20 else math.inf
