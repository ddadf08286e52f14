"""How much a request may bring: a bound for each route, kept while the body arrives.

Knows bytes and where they go. Knows nothing of what they say.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from .asgi import App, Headers, Receive, Refusal, Scope, Send, Shape

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
        elif not _fits(Headers(scope["headers"]).one(b"content-length"), most):
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
            await self._refuse(most, scope, receive, send)

    async def _refuse(self, most: int, scope: Scope, receive: Receive, send: Send) -> None:
        message = f"the request is larger than the {most:,} bytes that this server takes."
        await self.shape(Refusal(413, message, "request_too_large"))(scope, receive, send)


def _fits(length: str, most: int) -> bool:
    return not length or (length.isdecimal() and len(length) < 20 and int(length) <= most)
