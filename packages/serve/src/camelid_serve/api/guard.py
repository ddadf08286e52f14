"""Who may talk to the API: one ASGI layer around everything, closed by default.

Knows keys, hosts and origins. Knows nothing of what it guards. Open to all are only `/health` and
`/ready`, which hold no one's data; the latter is what load balancers ask, and they have no key.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.responses import Response

from .errors import ApiError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/health", "/ready")
SAFE = ("GET", "HEAD")
_WRONG_PER_MINUTE = 5
_CLIENTS = 1000
_PREFLIGHT = (
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"authorization, content-type"),
    (b"access-control-max-age", b"600"),
)
_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))


class Guard:
    """`keys` empty means nobody is asked for one; `hosts` are the names this server answers to, `origins` the
    pages elsewhere that may call it."""

    def __init__(self, app: App, keys: Iterable[str], hosts: Iterable[str], origins: Iterable[str] = ()) -> None:
        self._app = app
        self._keys = [_digest(key) for key in keys]
        self._hosts = frozenset(hosts)
        self._origins = frozenset(origin.lower() for origin in origins)
        self._wrong: dict[str, deque[float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _Headers(scope["headers"])
        refusal = self._refusal(scope, headers)
        added = [*_HEADERS, *self._shared_with(headers)]
        if refusal is None and scope["method"] == "OPTIONS" and len(added) > len(_HEADERS):
            await Response(status_code=204)(scope, receive, _with_headers(send, [*added, *_PREFLIGHT]))
        elif refusal is not None:
            await refusal.response()(scope, receive, _with_headers(send, added))
        else:
            await self._app(scope, receive, _with_headers(send, added))

    def _shared_with(self, headers: _Headers) -> list[tuple[bytes, bytes]]:
        """What lets a page of another site read the answer: only those that were named at the start."""
        origin = headers.one(b"origin")
        if origin.lower() not in self._origins:
            return []
        return [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"origin")]

    def _refusal(self, scope: Scope, headers: _Headers) -> ApiError | None:
        hosts = headers.all(b"host")
        if len(hosts) != 1 or host_name(hosts[0]) not in self._hosts:
            return ApiError(403, "this server does not answer to that name; start it with --allow-host.", "wrong_host")
        method, path = scope["method"], scope["path"]
        if method in SAFE and path in OPEN:
            return None
        if not self._from_here(method, headers):
            return ApiError(403, "this request comes from a page of another site.", "wrong_origin")
        if method == "OPTIONS" and headers.one(b"access-control-request-method"):
            return None if self._shared_with(headers) else ApiError(403, "no page may ask this.", "wrong_origin")
        return self._unknown(scope, headers)

    def _from_here(self, method: str, headers: _Headers) -> bool:
        """Browsers say where a request comes from, and there is no page of ours; programs say nothing."""
        origin = headers.one(b"origin")
        if origin and origin.lower() in self._origins:
            return True
        if headers.one(b"sec-fetch-site") in ("cross-site", "same-site"):
            return False
        if not origin:
            return method in SAFE or not headers.all(b"cookie")
        parts = urlsplit(origin) if origin.isprintable() and "[" not in origin else urlsplit("")
        return parts.scheme in ("http", "https") and parts.netloc.lower() == headers.one(b"host").lower()

    def _unknown(self, scope: Scope, headers: _Headers) -> ApiError | None:
        if not self._keys:
            return None
        shown = headers.all(b"authorization")
        given = _secret(shown[0]) if len(shown) == 1 else ""
        if not shown and scope["method"] == "GET":
            given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        if given and self._knows(given):
            return None
        client = (scope.get("client") or ("?", 0))[0]
        if given and self._throttled(client):
            return ApiError(429, "too many wrong keys; wait a minute.", "too_many_wrong_keys", retry_after=60)
        return ApiError(401, "send your key as `Authorization: Bearer KEY`.", "invalid_api_key")

    def _knows(self, given: str) -> bool:
        """All keys are compared, as digests: neither their length nor their content shows in the time it takes."""
        digest = _digest(given)
        return sum(hmac.compare_digest(digest, key) for key in self._keys) > 0

    def _throttled(self, client: str) -> bool:
        now = time.monotonic()
        times = self._wrong.setdefault(client, deque(maxlen=_WRONG_PER_MINUTE))
        if len(times) == _WRONG_PER_MINUTE and now - times[0] < 60:
            return True
        times.append(now)
        if len(self._wrong) > _CLIENTS:
            self._wrong.pop(next(iter(self._wrong)))
        return False


class _Headers:
    """Header values as text, by lower-case name."""

    def __init__(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        self._pairs = pairs

    def all(self, name: bytes) -> list[str]:
        return [value.decode("latin-1") for key, value in self._pairs if key == name]

    def one(self, name: bytes) -> str:
        return next(iter(self.all(name)), "")


def host_name(header: str) -> str:
    """The name without its port, in lower case."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    name, colon, port = header.rpartition(":")
    return (name if colon and port.isdecimal() else header).lower()


def _secret(authorization: str) -> str:
    """The key in `Bearer KEY`, or in `token KEY` as Jupyter has it."""
    kind, _, value = authorization.partition(" ")
    return value.strip() if kind.lower() in ("bearer", "token") else ""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _with_headers(send: Send, added: Sequence[tuple[bytes, bytes]]) -> Send:
    async def wrapped(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *added]
        await send(message)

    return wrapped
