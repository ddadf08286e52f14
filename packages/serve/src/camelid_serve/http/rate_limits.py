"""Rate limits: so many requests a minute for each client (a token bucket).

Knows addresses and the clock. Knows nothing of requests.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from .asgi import App, Headers, Receive, Refusal, RefusalFormat, Scope, Send

_MAX_CLIENTS = 10_000
"""Clients that are remembered; the one that was idle for longest is forgotten first."""


@dataclass
class RateLimiter:
    """Passes to `app` up to `per_minute` requests of a client at once, and as many in each minute after that.

    `free` says which requests do not count. `forwarded` takes the client's address from a proxy in front.
    """

    app: App
    per_minute: int
    refusal_response: RefusalFormat
    free: Callable[[Scope], bool] = lambda scope: False
    forwarded: bool = False
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self.free(scope):
            wait = self.take(client_address(scope, self.forwarded), time.monotonic())
            if wait > 0:
                refusal = Refusal(429, "too many requests; wait a little.", "too_many_requests", retry_after=wait)
                await self.refusal_response(refusal)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def take(self, client: str, now: float) -> float:
        """Take one of the client's requests: 0, or the seconds until there is one again."""
        left, since = self._buckets.pop(client, (float(self.per_minute), now))
        left = min(self.per_minute, left + (now - since) * self.per_minute / 60)
        wait = 0.0 if left >= 1 else (1 - left) * 60 / self.per_minute
        self._buckets[client] = (left - 1 if wait == 0 else left, now)
        if len(self._buckets) > _MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return wait


def client_address(scope: Scope, forwarded: bool = False) -> str:
    """The client's address; of an IPv6 address the /64 network, as one host has billions of addresses.

    Behind a proxy it is the last public address in `X-Forwarded-For`: those before it are the client's own claim.
    """
    address = (scope.get("client") or ("?", 0))[0]
    if forwarded:
        named = Headers(scope["headers"]).all(b"x-forwarded-for")
        address = next((each for each in reversed(",".join(named).split(",")) if _is_public(each.strip())), address)
    address = address.strip()
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else address


def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False
