"""Access control of a server: one ASGI layer (middleware) around everything, closed by default.

Knows API keys, cookies, hosts and origins (CORS, CSRF). Knows nothing of what it guards, nor how a refusal looks.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import deque
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.responses import Response

from .asgi import App, HeaderPairs, Headers, Receive, Refusal, RefusalFormat, Scope, Send, with_headers
from .rate_limits import client_address

SAFE = ("GET", "HEAD")
_WRONG_PER_MINUTE = 5
_MAX_CLIENTS = 1000
_PREFLIGHT = (
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"authorization, content-type"),
    (b"access-control-max-age", b"600"),
)


@dataclass(frozen=True)
class AccessRules:
    """Which requests are let through.

    `keys` empty means that none is required. `hosts` are the names that the server answers to; None stands for any
    name and any origin, which only fits where no key or cookie could be misused. `origins` are pages of other sites
    that may call it (CORS). `cookie` names the cookie in which a browser sends the key. `open` and paths under
    `open_under` may be read without a key. `pages` says that people follow links to it.
    """

    keys: tuple[str, ...] = ()
    hosts: frozenset[str] | None = frozenset()
    origins: frozenset[str] = frozenset()
    cookie: str = ""
    open: tuple[str, ...] = ()
    open_under: tuple[str, ...] = ()
    pages: bool = False

    def is_open(self, scope: Scope) -> bool:
        path = scope["path"]
        under = path.startswith(self.open_under) and ".." not in path
        return scope["method"] in SAFE and (path in self.open or under)


@dataclass
class Guard:
    """Passes to `app` the requests that `access` lets through; all responses get `headers`."""

    app: App
    access: AccessRules
    refusal_response: RefusalFormat
    headers: HeaderPairs = ()
    forwarded: bool = False
    """Whether the client's address is taken from a reverse proxy's header."""
    _wrong_keys: dict[str, deque[float]] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 4403})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope["headers"])
        refusal = self._refusal(scope, headers)
        cors = self._cors_headers(headers)
        send = with_headers(send, [*self.headers, *cors])
        if refusal is not None:
            await self.refusal_response(refusal)(scope, receive, send)
        elif scope["method"] == "OPTIONS" and cors:
            await Response(status_code=204)(scope, receive, with_headers(send, _PREFLIGHT))
        else:
            await self.app(scope, receive, send)

    def _cors_headers(self, headers: Headers) -> HeaderPairs:
        """CORS headers, which let a page of another site read the response: only the allowed origins get them."""
        origin = headers.one(b"origin")
        if origin.lower() not in self.access.origins:
            return ()
        return ((b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"origin"))

    def _refusal(self, scope: Scope, headers: Headers) -> Refusal | None:
        """None lets the request through."""
        access, method = self.access, scope["method"]
        if access.hosts is not None and host_without_port(headers.only(b"host")) not in access.hosts:
            return Refusal(403, "this server does not answer to that name; start it with --allow-host.", "wrong_host")
        if access.is_open(scope):
            return None
        if access.hosts is not None and not self._is_same_site(method, headers):
            return Refusal(403, "this request comes from a page of another site.", "wrong_origin")
        if method == "OPTIONS" and headers.one(b"access-control-request-method"):
            return None if self._cors_headers(headers) else Refusal(403, "no page may ask this.", "wrong_origin")
        return self._check_key(scope, headers)

    def _is_same_site(self, method: str, headers: Headers) -> bool:
        """Whether it comes from the server's own pages or from a program (no CSRF): browsers send the origin; programs
        send none, and no cookie."""
        origin = headers.one(b"origin")
        if origin and origin.lower() in self.access.origins:
            return True
        if headers.one(b"sec-fetch-site") in ("cross-site", "same-site"):
            followed = headers.one(b"sec-fetch-mode") == "navigate" and not origin
            return self.access.pages and method in SAFE and followed
        if not origin:
            return method in SAFE or not headers.all(b"cookie")
        parts = urlsplit(origin) if origin.isprintable() and "[" not in origin else urlsplit("")
        return parts.scheme in ("http", "https") and parts.netloc.lower() == headers.one(b"host").lower()

    def _check_key(self, scope: Scope, headers: Headers) -> Refusal | None:
        if not self.access.keys:
            return None
        sent = [key for key in self._sent_keys(scope, headers) if key]
        if any(self._is_valid(key) for key in sent):
            return None
        if sent and self._throttled(client_address(scope, self.forwarded)):
            return Refusal(429, "too many wrong keys; wait a minute.", "too_many_wrong_keys", retry_after=60)
        return Refusal(401, "send your key as `Authorization: Bearer KEY`.", "invalid_api_key")

    def _sent_keys(self, scope: Scope, headers: Headers) -> list[str]:
        """The keys that a request sends. One in the query counts for reading alone: a link must change nothing."""
        return [_bearer(headers), _cookie(headers, self.access.cookie), key_in_query(scope)]

    def _is_valid(self, given: str) -> bool:
        """All keys are compared, as digests: the time it takes reveals neither their length nor their content."""
        return sum(hmac.compare_digest(_digest(given), _digest(key)) for key in self.access.keys) > 0

    def _throttled(self, client: str) -> bool:
        now = time.monotonic()
        times = self._wrong_keys.setdefault(client, deque(maxlen=_WRONG_PER_MINUTE))
        if len(times) == _WRONG_PER_MINUTE and now - times[0] < 60:
            return True
        times.append(now)
        if len(self._wrong_keys) > _MAX_CLIENTS:
            self._wrong_keys.pop(next(iter(self._wrong_keys)))
        return False


def host_without_port(header: str) -> str:
    """The name in a Host header without its port, in lower case."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    name, colon, port = header.rpartition(":")
    return (name if colon and port.isdecimal() else header).lower()


def key_in_query(scope: Scope) -> str:
    """`?token=…` of a GET."""
    if scope["method"] != "GET":
        return ""
    return parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]


def _bearer(headers: Headers) -> str:
    """The key in `Bearer KEY`, or in `token KEY` as Jupyter has it."""
    kind, _, value = headers.only(b"authorization").partition(" ")
    return value.strip() if kind.lower() in ("bearer", "token") else ""


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.one(b"cookie")).get(name) if name else None
    except CookieError:
        return ""
    return found.value if found else ""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
