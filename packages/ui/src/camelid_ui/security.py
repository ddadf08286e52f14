"""Authentication and security headers of the pages: who needs the token, the cookie that holds it, error responses.

Knows the pages' own address, cookie and headers. `camelid_serve.http` enforces the rules; `routes` lists the paths.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from camelid_serve.http.asgi import App, HeaderPairs, Receive, Refusal, Scope, Send
from camelid_serve.http.body_limits import BodyLimits
from camelid_serve.http.connection import ConnectionLimits
from camelid_serve.http.guard import AccessRules, Guard, key_in_query
from camelid_serve.http.rate_limits import RateLimiter
from starlette.responses import HTMLResponse, Response

from .access_profile import Profile
from .routes import PUBLIC_PATHS, PUBLIC_PREFIXES, is_static, max_body_bytes

MAX_REQUEST_SECONDS, MIN_BYTES_PER_SECOND = 15.0, 16_000.0
"""A request must arrive within so many seconds, and a file no slower than that."""
_CONTENT_SECURITY_POLICY = (
    "img-src 'self' data: blob:",  # model output is shown as Markdown: an image in it must not call anybody
    "media-src 'self' data: blob:",
    "connect-src 'self' blob: data:",
    "object-src 'none'",
    "base-uri 'self'",
    "form-action 'self'",
)
_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin"))


def guard_local(app: App, token: str, hosts: frozenset[str], port: int, profile: Profile) -> Guard:
    """Pages on one's own machine: for requests to `hosts`, with this `token` unless it is empty."""
    name = f"camelid-{port}"  # cookies know no ports, and two servers on one machine must not share one
    access = AccessRules((token,) if token else (), hosts, frozenset(), name, PUBLIC_PATHS, PUBLIC_PREFIXES, pages=True)
    inside = SignIn(_limit_requests(app, profile), token, name) if token else _limit_requests(app, profile)
    return Guard(inside, access, refusal_response, _headers("'none'"))


def guard_public(app: App, profile: Profile, frames: str, forwarded: bool) -> Guard:
    """Public pages: no token, any host name, and `frames` may show them in a frame. `forwarded` says that a reverse
    proxy is in front and names the clients."""
    access = AccessRules(hosts=None, open=PUBLIC_PATHS, open_under=PUBLIC_PREFIXES, pages=True)
    return Guard(_limit_requests(app, profile, forwarded), access, refusal_response, _headers(frames), forwarded)


def connection_limits(profile: Profile, forwarded: bool = False) -> ConnectionLimits:
    """Limits on connections; behind a proxy there is none per client, for all come from the proxy."""
    per_client = None if forwarded else profile.max_client_connections
    return ConnectionLimits(profile.max_connections, per_client, MAX_REQUEST_SECONDS, MIN_BYTES_PER_SECOND)


def _limit_requests(app: App, profile: Profile, forwarded: bool = False) -> App:
    """The app behind the allow-list of routes, with limits on request bodies and on requests per client."""
    inside: App = BodyLimits(app, lambda method, path: max_body_bytes(profile, method, path), refusal_response)
    if profile.max_client_requests is None:
        return inside
    return RateLimiter(inside, profile.max_client_requests, refusal_response, is_static, forwarded)


def _headers(frames: str) -> HeaderPairs:
    policy = "; ".join([*_CONTENT_SECURITY_POLICY, f"frame-ancestors {frames}"])
    closed = [(b"x-frame-options", b"DENY")] if frames == "'none'" else []
    return (*_HEADERS, *closed, (b"content-security-policy", policy.encode()))


def refusal_response(refusal: Refusal) -> Response:
    """The login page where the token is missing, else JSON that Gradio's script shows as a message."""
    headers = {"cache-control": "no-store", **refusal.headers}
    if refusal.status == 401:
        return HTMLResponse(_LOGIN_PAGE, refusal.status, headers)
    words = json.dumps({"detail": refusal.message[:1].upper() + refusal.message[1:]})
    return Response(words, refusal.status, headers, "application/json")


@dataclass(frozen=True)
class SignIn:
    """Sets the cookie when the page is opened with the token in its address, and reloads it without the token."""

    app: App
    token: str
    cookie: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/" and key_in_query(scope):
            cookie = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
            headers = {"set-cookie": cookie, "cache-control": "no-store"}
            await HTMLResponse(_COOKIE_PAGE, headers=headers)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


_STYLE = (
    "body{font:16px/1.6 system-ui,sans-serif;max-width:34em;margin:15vh auto;padding:0 20px;"
    "color:#1b1b19;background:#f8f8f6}code{background:#ececE8;padding:1px 5px}"
)
_LOGIN_PAGE = (
    '<!doctype html><html lang="en"><meta name="viewport" content="width=device-width"><title>Camelid</title>'
    f"<style>{_STYLE}</style>"
    "<h1>Camelid</h1><p>These pages need a token. Open the address that <code>camelid ui</code> printed when it "
    "started; it ends in <code>?token=…</code></p></html>"
)
_COOKIE_PAGE = (
    # a page, not a redirect: a strict cookie is not sent on a redirect that began at another site
    '<!doctype html><html lang="en"><title>Camelid</title><script>const u=new URL(location.href);'
    "u.searchParams.delete('token');location.replace(u.href)</script>"
    f'<style>{_STYLE}</style><noscript><a href="/">Camelid</a></noscript></html>'
)
