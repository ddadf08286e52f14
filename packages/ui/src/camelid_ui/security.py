"""Who may talk to the pages: one ASGI middleware around everything, closed by default.

Knows tokens, cookies, hosts and origins. Knows nothing of what it guards. Open to all are only
`/health` and the app's static files, which hold no one's data.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/health", "/favicon.ico")
OPEN_UNDER = ("/assets/", "/static/")
SAFE = ("GET", "HEAD")
_POLICY = (
    "img-src 'self' data: blob:",  # model output is shown as Markdown: an image in it must not call anybody
    "media-src 'self' data: blob:",
    "connect-src 'self' blob: data:",
    "object-src 'none'",
    "base-uri 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
)
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"content-security-policy", "; ".join(_POLICY).encode()),
)
_WRONG_PER_MINUTE = 5


@dataclass
class Guard:
    """`token` empty means nobody is asked for one; `hosts` are the names this server answers to."""

    app: App
    token: str
    hosts: frozenset[str]
    port: int
    _wrong: dict[str, deque[float]] = field(default_factory=dict)

    @property
    def cookie(self) -> str:
        """Named by port: cookies know no ports, and two servers on one machine must not share one."""
        return f"camelid-{self.port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(scope, send, *refusal)
        elif self._fresh(scope):
            await _answer(scope, send, 200, _ENTER, {"set-cookie": self._set_cookie()})
        else:
            await self.app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Status and sentence, or None to let the request through."""
        if _host(headers.get("host", "")) not in self.hosts:
            return 403, "This server does not answer to that name. Start it with --allow-host NAME to add one."
        method, path = scope.get("method", "WEBSOCKET"), scope["path"]
        if method in SAFE and (path in OPEN or path.startswith(OPEN_UNDER)) and ".." not in path:
            return None
        if method not in SAFE and not self._same_origin(headers):
            return 403, "This request did not come from Camelid's own pages."
        return self._unknown(scope, headers)

    def _same_origin(self, headers: Mapping[str, str]) -> bool:
        """Browsers name the page a request comes from. Programs do not, and must show the token themselves."""
        origin = headers.get("origin")
        if origin is None:
            return "cookie" not in headers and (not self.token or "authorization" in headers)
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and parts.netloc.lower() == headers.get("host", "").lower()

    def _unknown(self, scope: Scope, headers: Mapping[str, str]) -> tuple[int, str] | None:
        if not self.token:
            return None
        client = (scope.get("client") or ("?", 0))[0]
        shown = [value for value in (_bearer(headers), self._from_cookie(headers), _from_query(scope)) if value]
        if any(_same(value, self.token) for value in shown):
            return None
        if not shown:
            return 401, _LOGIN
        return (429, "Too many wrong tokens; wait a minute.") if self._throttled(client) else (401, _LOGIN)

    def _throttled(self, client: str) -> bool:
        now = time.monotonic()
        times = self._wrong.setdefault(client, deque(maxlen=_WRONG_PER_MINUTE))
        full = len(times) == _WRONG_PER_MINUTE and now - times[0] < 60
        if not full:
            times.append(now)
        if len(self._wrong) > 1000:
            self._wrong.pop(next(iter(self._wrong)))
        return full

    def _fresh(self, scope: Scope) -> bool:
        """A page opened with the printed address: it is given the cookie, and goes on without the token."""
        return bool(self.token) and scope.get("method") == "GET" and bool(_from_query(scope)) and scope["path"] == "/"

    def _set_cookie(self) -> str:
        return f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"

    def _from_cookie(self, headers: Mapping[str, str]) -> str:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return ""
        return found.value if found else ""


def _host(header: str) -> str:
    """The name without port."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return (
        header.rpartition(":")[0].lower() if header.rpartition(":")[2].isdecimal() and ":" in header else header.lower()
    )


def _same(given: str, token: str) -> bool:
    """Compared as digests: neither length nor content shows in the time it takes."""
    return hmac.compare_digest(hashlib.sha256(given.encode()).digest(), hashlib.sha256(token.encode()).digest())


def _bearer(headers: Mapping[str, str]) -> str:
    kind, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else ""


def _from_query(scope: Scope) -> str:
    if scope.get("method") != "GET":
        return ""
    return parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]


def _with_headers(send: Send) -> Send:
    async def wrapped(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            given = {key.lower() for key, _ in message.get("headers", [])}
            message["headers"] = [*message.get("headers", []), *(pair for pair in _HEADERS if pair[0] not in given)]
        await send(message)

    return wrapped


async def _answer(scope: Scope, send: Send, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 4403})
        return
    page = text.startswith("<!doctype")
    kind = "text/html; charset=utf-8" if page else "text/plain; charset=utf-8"
    given = {"content-type": kind, "cache-control": "no-store", **(headers or {})}
    raw = [(key.encode(), value.encode("latin-1")) for key, value in given.items()]
    await send({"type": "http.response.start", "status": status, "headers": [*raw, *_HEADERS]})
    await send({"type": "http.response.body", "body": text.encode()})


_STYLE = (
    "body{font:16px/1.6 system-ui,sans-serif;max-width:34em;margin:15vh auto;padding:0 20px;"
    "color:#1b1b19;background:#f8f8f6}code{background:#ececE8;padding:1px 5px}"
)
_LOGIN = (
    '<!doctype html><html lang="en"><meta name="viewport" content="width=device-width"><title>Camelid</title>'
    f"<style>{_STYLE}</style>"
    "<h1>Camelid</h1><p>These pages need a token. Open the address that <code>camelid ui</code> printed when it "
    "started; it ends in <code>?token=…</code></p></html>"
)
_ENTER = (
    # a page, not a redirect: a strict cookie is not sent on a redirect that began at another site
    '<!doctype html><html lang="en"><title>Camelid</title><script>const u=new URL(location.href);'
    "u.searchParams.delete('token');location.replace(u.href)</script>"
    f'<style>{_STYLE}</style><noscript><a href="/">Camelid</a></noscript></html>'
)
