"""Rate limits: so many requests of a client in a minute, and each client has its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from camelid_serve.api.errors import refusal_response
from camelid_serve.http.rate_limits import RateLimiter, client_address
from hypothesis import given
from hypothesis import strategies as st


async def served(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


@given(st.integers(1, 50), st.lists(st.floats(0, 30), min_size=1, max_size=200))
def test_no_minute_has_more_than_twice_what_it_may(most: int, pauses: list[float]) -> None:
    """What was saved up at its beginning, and what comes back meanwhile."""
    rates, now, taken = RateLimiter(served, most, refusal_response), 0.0, []
    for pause in pauses:
        now += pause
        wait = rates.take("a", now)
        if wait == 0:
            taken.append(now)
        else:
            assert wait <= 60 / most
            again = RateLimiter(served, most, refusal_response)
            again._buckets = rates._buckets.copy()
            assert again.take("a", now + wait + 1e-6) == 0
    for start in taken:
        assert sum(start <= each < start + 60 for each in taken) <= 2 * most


def ask(rates: RateLimiter, client: str, path: str = "/") -> int:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "client": (client, 1)}
    asyncio.run(rates(scope, None, send))
    return int(sent[0]["status"])


def test_who_asks_too_often_is_told_when_to_come_back_and_others_are_served() -> None:
    rates = RateLimiter(served, 3, refusal_response, free=lambda scope: scope["path"] == "/free")
    assert [ask(rates, "10.0.0.1") for _ in range(5)] == [200] * 3 + [429] * 2
    assert ask(rates, "10.0.0.2") == 200
    assert ask(rates, "10.0.0.1", "/free") == 200


@pytest.mark.parametrize(
    ("address", "forwarded", "client"),
    [
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["8.8.8.8"], "8.8.8.8"),
        ("10.0.0.1", ["1.2.3.4, 8.8.8.8, 10.1.1.1"], "8.8.8.8"),
        ("10.0.0.1", ["1.2.3.4", "8.8.8.8"], "8.8.8.8"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
        ("2001:db8:1:2:3::4", [], "2001:db8:1:2::/64"),
    ],
)
def test_a_client_is_who_the_nearest_proxy_names(address: str, forwarded: list[str], client: str) -> None:
    headers = [(b"x-forwarded-for", each.encode()) for each in forwarded]
    scope = {"client": (address, 1), "headers": headers}
    assert client_address(scope, forwarded=True) == client
    assert client_address(scope) == client_address({"client": (address, 1)})


def test_as_many_clients_are_remembered_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camelid_serve.http.rate_limits._MAX_CLIENTS", 2)
    rates = RateLimiter(served, 1, refusal_response)
    for client in "abc":
        assert rates.take(client, 0) == 0
    assert len(rates._buckets) == 2
    assert rates.take("c", 0) > 0
