"""Connections keep their bounds whatever is served: how many, how slow, how long a file may take."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import httpx
import pytest
import uvicorn
from camelid_core.server_address import listening_socket
from camelid_serve.api.errors import refusal_response
from camelid_serve.http.asgi import App
from camelid_serve.http.body_limits import BodyLimits
from camelid_serve.http.connection import ConnectionLimits
from camelid_serve.http.server import uvicorn_config

pytestmark = pytest.mark.slow
HEAD = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n"


async def counting(scope: Any, receive: Any, send: Any) -> None:
    """Reads all that comes and says how much that was."""
    read, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return
        read, more = read + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(read).encode()})


@contextmanager
def served(connection_limits: ConnectionLimits, app: App = counting) -> Iterator[tuple[int, uvicorn.Server]]:
    with listening_socket("127.0.0.1", 0) as listener:
        server = uvicorn.Server(
            uvicorn_config(app, connection_limits, refusal_response, lifespan="off", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1], server
        finally:
            server.should_exit = True
            thread.join(60)


def answer(port: int, first: bytes, piece: bytes, gap: float) -> bytes:
    """Send `first`, and a piece after each gap until the server answers; what it says."""
    with socket.create_connection(("127.0.0.1", port), timeout=gap) as connection:
        connection.sendall(first)
        until, said = time.monotonic() + 240, b""
        while time.monotonic() < until:
            with suppress(OSError):
                connection.sendall(piece)
            try:
                came = connection.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                return said
            if not came or b"\r\n\r\n" in said + came:
                return said + came
            said += came
    raise AssertionError("the server reads on")


@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\nhost: localhost\r\nx-", HEAD])
@pytest.mark.parametrize("rate", [0.0, 1_000_000.0])
def test_what_trickles_is_ended(first: bytes, rate: float) -> None:
    with served(ConnectionLimits(receive_seconds=0.5, bytes_per_second=rate)) as (port, _):
        assert b" 408 " in answer(port, first, b"x", 0.05)


def test_a_file_may_take_as_long_as_it_keeps_coming() -> None:
    """20 pieces, one each 0.05 s: a second at least, of which half a second is granted to any request."""
    with served(ConnectionLimits(receive_seconds=0.5, bytes_per_second=100)) as (port, _):
        begun = time.monotonic()
        said = answer(port, HEAD, b"x" * 5000, 0.05)
        assert b" 200 " in said
        assert time.monotonic() - begun > 0.5


def test_no_client_has_more_connections_than_it_may(holding: Callable[[int, int], list[socket.socket]]) -> None:
    with served(ConnectionLimits(connections=100, per_client=3, receive_seconds=300)) as (port, server):
        held = holding(port, 3)
        until(lambda: len(server.server_state.connections) == 3)
        [refused] = holding(port, 1)
        assert b" 503 " in refused.recv(4096)
        held.pop().close()
        until(lambda: len(server.server_state.connections) == 2)
        [again] = holding(port, 1)
        again.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert b" 200 " in again.recv(4096)


@pytest.mark.parametrize("chunked", [False, True])
def test_who_sends_too_much_still_hears_why(chunked: bool) -> None:
    body = b"x" * 3_000_000
    with served(ConnectionLimits(), BodyLimits(counting, lambda method, path: 1000, refusal_response)) as (port, _):
        content = iter([body[:1_000_000]] * 3) if chunked else body
        refused = httpx.post(f"http://127.0.0.1:{port}/", content=content, timeout=240)
        assert refused.status_code == 413
        assert "1,000 bytes" in refused.json()["error"]["message"]


@pytest.fixture
def holding() -> Iterator[Callable[[int, int], list[socket.socket]]]:
    """Open so many connections, and close them in the end."""
    with ExitStack() as stack:

        def connect(port: int, count: int) -> list[socket.socket]:
            made = [socket.create_connection(("127.0.0.1", port), timeout=240) for _ in range(count)]
            return [stack.enter_context(each) for each in made]

        yield connect


def until(holds: Callable[[], bool]) -> None:
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < 60, "it did not come about"
        time.sleep(0.01)
