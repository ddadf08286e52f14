"""ASGI helpers: its types, headers as text, and how a layer (middleware) refuses a request.

Knows messages. Knows nothing of the reasons for a refusal.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
HeaderPairs = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused request: a status, a sentence for people, an error code for programs."""

    status: int
    message: str
    code: str
    retry_after: float | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"retry-after": str(max(1, round(self.retry_after)))}


RefusalFormat = Callable[[Refusal], Response]
"""Turns a refusal into a response: JSON for programs, a page for people."""


class Headers:
    """Header values as text, by lower-case name."""

    def __init__(self, pairs: HeaderPairs) -> None:
        self._pairs = pairs

    def all(self, name: bytes) -> list[str]:
        return [value.decode("latin-1") for key, value in self._pairs if key == name]

    def one(self, name: bytes) -> str:
        """The first of that name, or an empty text."""
        return next(iter(self.all(name)), "")

    def only(self, name: bytes) -> str:
        """The only one of that name; an empty text where there are several, as another reader may take another one."""
        found = self.all(name)
        return found[0] if len(found) == 1 else ""


def with_headers(send: Send, added: HeaderPairs) -> Send:
    """Responses get these headers too, where they have none of that name."""

    async def wrapped(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            given = {key.lower() for key, _ in message.get("headers", [])}
            message["headers"] = [*message.get("headers", []), *(pair for pair in added if pair[0] not in given)]
        await send(message)

    return wrapped
