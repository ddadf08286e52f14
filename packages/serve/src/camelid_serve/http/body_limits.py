"""How much a request may bring: a bound for each route, kept while the body arrives.

Knows bytes and where they go. Knows nothing of what they say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from .asgi import App, Headers, Receive, Refusal, Scope, Send, Shape

_DROPPED = 32_000_000
"""Most bytes of a refused body that are read and dropped: a client that is still sending would not hear the answer."""
Bound = Callable[[str, str], int | None]
"""Most bytes of a body by method and path; None where there is no such route."""


@dataclass(frozen=True)
class Bodies:
    """Lets through to `app` what `bound` allows. A body that says its length is refused before it is read; one that
    does not is cut off, and whatever the application makes of that is dropped."""

    app: App
    bound: Bound
    shape: Shape

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = self.bound(scope["method"], scope["path"])
        if most is None:
            refusal = Refusal(404, "there is nothing here under that name.", "not_found")
            await self.shape(refusal)(scope, receive, send)
        elif (length := _length(Headers(scope["headers"]).one(b"content-length"))) > most:
            if length <= most + _DROPPED:
                await _drop(receive, int(length))
            await self._refuse(most, scope, receive, send)
        else:
            await self._bounded(most, scope, receive, send)

    async def _bounded(self, most: int, scope: Scope, receive: Receive, send: Send) -> None:
        come, over, answered = 0, False, False

        async def counted() -> MutableMapping[str, Any]:
            nonlocal come, over
            message = await receive() if not over else {"type": "http.disconnect"}
            come += len(message.get("body", b""))
            if come > most:
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
            await _drop(receive, _DROPPED)
            await self._refuse(most, scope, receive, send)

    async def _refuse(self, most: int, scope: Scope, receive: Receive, send: Send) -> None:
        message = f"the request is larger than the {most:,} bytes that this server takes."
        await self.shape(Refusal(413, message, "request_too_large"))(scope, receive, send)


async def _drop(receive: Receive, most: int) -> None:
    more = True
    while more and most > 0:
        message = await receive()
        most -= len(message.get("body", b"")) or 1
        more = message.get("more_body", False)


def _length(header: str) -> float:
    """What a body is said to have; nothing may stand there, and nonsense is more than anything."""
    if not header:
        return 0
    return int(header) if header.isascii() and header.isdecimal() and len(header) < 20 else math.inf
