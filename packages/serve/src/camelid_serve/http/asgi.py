"""ASGI in a few words: its types, headers as text, and how a layer refuses a request.

Knows messages. Knows nothing of who is refused, or why.
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
    """Why a request is not served: a status, a sentence for people, a word for programs."""

    status: int
    message: str
    code: str
    retry_after: float | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"retry-after": str(max(1, round(self.retry_after)))}


RefusalFormat = Callable[[Refusal], Response]
"""How a server's refusals look: JSON to programs, a page to people."""


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
        """The only one of that name; an empty text where there are several, as who reads another one is misled."""
        found = self.all(name)
        return found[0] if len(found) == 1 else ""


def with_headers(send: Send, added: HeaderPairs) -> Send:
    """Answers get these headers too, where they have none of that name."""

    async def wrapped(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            given = {key.lower() for key, _ in message.get("headers", [])}
            message["headers"] = [*message.get("headers", []), *(pair for pair in added if pair[0] not in given)]
        await send(message)

    return wrapped
