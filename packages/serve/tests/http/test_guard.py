"""Nobody gets in without a key, from another site, or under another name."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from camelid_serve.api.errors import refusal_response
from camelid_serve.http import guard
from camelid_serve.http.guard import AccessRules, Guard, host_without_port

KEY = "open-sesame"


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def watching(app: Any = nothing, keys: Any = (KEY,), **more: Any) -> Guard:
    return Guard(
        app,
        AccessRules(tuple(keys), frozenset({"localhost"}), frozenset({"https://app.example"}), **more),
        refusal_response,
    )


def ask(method: str = "POST", path: str = "/v1/models", headers: Any = (), keys: Any = (KEY,), **more: Any) -> int:
    """The status that a guard around nothing answers with; 204 is let through."""
    import asyncio

    pairs = [(key.encode(), value.encode("latin-1")) for key, value in headers]
    if "host" not in dict(headers):
        pairs.append((b"host", b"localhost:8000"))
    scope = {"type": "http", "method": method, "path": path, "headers": pairs, "query_string": b"", **more}
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    watched = more.pop("guard", None) or watching(keys=keys)
    asyncio.run(watched(scope, None, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    ("headers", "query", "status"),
    [
        ([], b"", 401),
        ([("authorization", f"Bearer {KEY}")], b"", 204),
        ([("authorization", f"bearer {KEY}")], b"", 204),
        ([("authorization", f"token {KEY}")], b"", 204),
        ([], f"token={KEY}".encode(), 204),
        ([("authorization", KEY)], b"", 401),
        ([("authorization", "Bearer ")], b"", 401),
        ([("authorization", f"Bearer Bearer {KEY}")], b"", 401),
        ([("authorization", f"Bearer {KEY}x")], b"", 401),
        ([("authorization", f"Basic {KEY}")], b"", 401),
        ([("authorization", f"Bearer {KEY}"), ("authorization", f"Bearer {KEY}")], b"", 401),
        ([("authorization", "Bearer \xff\xfe")], b"", 401),
    ],
)
def test_who_shows_what_is_let_in(headers: Any, query: bytes, status: int) -> None:
    assert ask("GET", headers=headers, query_string=query) == status


def test_a_key_in_the_address_counts_for_reading_alone() -> None:
    assert ask("POST", query_string=f"token={KEY}".encode()) == 401


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [
        [("origin", "https://evil.example")],
        [("origin", "null")],
        [("origin", "http://localhost:8000.evil.example")],
        [("sec-fetch-site", "cross-site")],
        [("host", "evil.example")],
        [("host", "localhost:8000"), ("host", "evil.example")],
    ],
)
@pytest.mark.parametrize("keys", [(KEY,), ()])
def test_other_sites_and_names_are_kept_out_even_with_the_key(method: str, headers: Any, keys: Any) -> None:
    """DNS rebinding, and pages that call localhost."""
    assert ask(method, "/query/x", [*headers, ("authorization", f"Bearer {KEY}")], keys) == 403


def test_a_cookie_without_an_origin_is_no_program() -> None:
    assert ask("POST", headers=[("cookie", "a=b")], keys=()) == 403
    assert ask("POST", headers=[("cookie", "a=b"), ("origin", "http://localhost:8000")], keys=()) == 204
    assert ask("POST", headers=[("origin", "https://app.example")], keys=()) == 204


def test_what_is_neither_http_nor_the_servers_own_start_goes_nowhere() -> None:
    import asyncio

    asked: list[str] = []

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["type"])

    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message["type"])

    for kind in ("lifespan", "websocket"):
        asyncio.run(watching(noting)({"type": kind, "headers": []}, None, send))
    assert asked == ["lifespan"]
    assert said == ["websocket.close"]


def test_guessing_is_slowed_and_the_right_key_is_not() -> None:
    watched = watching()
    client = {"guard": watched, "client": ("10.0.0.1", 5)}
    tried = [ask(headers=[("authorization", "Bearer wrong")], **client) for _ in range(7)]
    assert tried == [401] * 5 + [429] * 2
    assert ask(headers=[("authorization", f"Bearer {KEY}")], **client) == 204
    other = {"guard": watched, "client": ("10.0.0.2", 5)}
    assert ask(headers=[("authorization", "Bearer wrong")], **other) == 401


def test_keys_are_compared_in_constant_time_and_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    really = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return really(one, other)

    monkeypatch.setattr(guard.hmac, "compare_digest", compare)
    assert ask(headers=[("authorization", "Bearer second")], keys=("first", "second", "third")) == 204
    assert len(compared) == 3
    assert {len(part) for pair in compared for part in pair} == {hashlib.sha256().digest_size}


@pytest.mark.parametrize(
    ("header", "name"),
    [("localhost:80", "localhost"), ("[::1]:80", "::1"), ("[::1]", "::1"), ("EXAMPLE.org", "example.org"), ("", "")],
)
def test_the_name_in_a_host_header(header: str, name: str) -> None:
    assert host_without_port(header) == name


@pytest.mark.parametrize(
    ("mode", "origin", "pages", "status"),
    [("navigate", "", True, 204), ("navigate", "", False, 403), ("no-cors", "", True, 403),
     ("navigate", "https://evil.example", True, 403)],
)  # fmt: skip
def test_a_link_from_elsewhere_leads_to_pages_alone(mode: str, origin: str, pages: bool, status: int) -> None:
    headers = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", mode), ("authorization", f"Bearer {KEY}")]
    headers += [("origin", origin)] if origin else []
    assert ask("GET", "/", headers, guard=watching(pages=pages)) == status
    assert ask("POST", "/", headers, guard=watching(pages=pages)) == 403
