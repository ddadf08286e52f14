"""A body may be as large as its route takes, however it comes, and nothing of a larger one is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from camelid_serve.api.errors import refusal_response
from camelid_serve.http.body_limits import BodyLimits
from hypothesis import given
from hypothesis import strategies as st

MOST = 1000


class Reader:
    """Reads all that comes, and answers with 200; or only after `early` chunks of an answer."""

    def __init__(self) -> None:
        self.read = b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            self.read += message["body"]
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


def ask(chunks: list[bytes], app: Any = None, length: str | None = None, path: str = "/there") -> list[Any]:
    """The messages that are sent when these chunks are received."""
    parts: Iterator[Any] = iter(chunks)
    left = len(chunks)
    sent: list[Any] = []

    async def receive() -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": next(parts), "more_body": left > 0}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-length", length.encode())] if length is not None else []
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    bodies = BodyLimits(app or Reader(), lambda method, path: MOST if path == "/there" else None, refusal_response)
    asyncio.run(bodies(scope, receive, send))
    return sent


@given(st.lists(st.binary(max_size=400), min_size=1, max_size=8))
def test_what_fits_comes_whole_and_what_does_not_is_refused(chunks: list[bytes]) -> None:
    whole, reader = b"".join(chunks), Reader()
    status = ask(chunks, reader)[0]["status"]
    assert status == (200 if len(whole) <= MOST else 413)
    assert len(reader.read) <= MOST
    assert whole.startswith(reader.read)


@pytest.mark.parametrize("length", [str(MOST + 1), "9" * 30, "-1", "x", "²"])
def test_a_body_that_says_it_is_too_large_is_not_read(length: str) -> None:
    reader = Reader()
    assert ask([b"x"], reader, length)[0]["status"] == 413
    assert reader.read == b""


def test_what_an_application_makes_of_a_body_that_was_cut_off_is_dropped() -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await Reader()(scope, receive, send)
        raise RuntimeError("the body ended early")

    sent = ask([b"x" * 600] * 2, failing)
    assert [message.get("status") for message in sent] == [413, None]
    with pytest.raises(RuntimeError):
        ask([b"x"], failing)


def test_an_answer_under_way_is_not_begun_again() -> None:
    async def hasty(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.body", "body": b"ok"})

    assert [message.get("status") for message in ask([b"x" * 600] * 2, hasty)] == [200, None]


def test_what_is_no_route_is_not_there() -> None:
    assert ask([b""], path="/elsewhere")[0]["status"] == 404
