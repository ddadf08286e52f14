"""Too much, too slow, gone: the server keeps its bounds, and slots come back."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytestmark = pytest.mark.slow

LONG = {"long": "tokens=100000,gap=0.02", "second": "tokens=3,gap=0.1"}
KEY = "open-sesame"


def ask(served: Any, body: dict[str, Any]) -> http.client.HTTPConnection:
    """Send a request and do not wait for the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    message = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 100_000, **body}
    connection.request("POST", "/v1/chat/completions", json.dumps(message), headers)
    return connection


def busy(served: Any) -> bool:
    return bool(served.state.slots.taken)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_slot(serve: Callable[..., Any], stream: bool) -> None:
    served = serve(LONG, slots=1)
    before = served.metric("camelid_generated_tokens_total")
    connection = ask(served, {"stream": stream})
    if stream:
        connection.getresponse().read(1)
    served.until(lambda: busy(served))
    time.sleep(0.1)  # about five tokens
    connection.close()
    assert served.until(lambda: not busy(served)) < 1
    assert served.until(lambda: served.metric("camelid_clients_left_total") == 1) < 1
    assert served.metric("camelid_generated_tokens_total") - before < 40
    assert served.chat(model="second").status_code == 200


def test_a_client_that_leaves_the_line_is_never_asked_for(serve: Callable[..., Any]) -> None:
    served = serve(LONG, slots=1)
    first, second = ask(served, {"stream": True}), ask(served, {"stream": True})
    served.until(lambda: served.state.slots.waiting == 1)
    second.close()
    served.until(lambda: served.state.slots.waiting == 0)
    first.close()
    served.until(lambda: not busy(served))


def test_too_many_are_told_to_come_back_and_the_others_are_served_in_turn(serve: Callable[..., Any]) -> None:
    served = serve(LONG, slots=1, queue=3)
    order: list[int] = []
    statuses: list[int] = []

    def one(number: int) -> None:
        response = served.chat(model="second")
        statuses.append(response.status_code)
        if response.status_code == 200:
            order.append(number)
        else:
            assert int(response.headers["retry-after"]) >= 1
            assert response.json()["error"]["code"] == "queue_full"

    with ThreadPoolExecutor(12) as pool:
        for number in range(12):
            pool.submit(one, number)
            time.sleep(0.02)
    assert order == sorted(order)
    assert statuses.count(429) + len(order) == 12
    assert 4 <= len(order) < 12


def test_several_answers_take_several_slots(serve: Callable[..., Any]) -> None:
    served = serve(LONG, slots=3)
    connection = ask(served, {"stream": True, "n": 2})
    served.until(lambda: served.state.slots.taken == 2)
    connection.close()
    connection = ask(served, {"stream": True, "n": 4})
    served.until(lambda: served.state.slots.taken == 3)
    connection.close()
    served.until(lambda: not busy(served))


def test_what_takes_too_long_is_ended(serve: Callable[..., Any]) -> None:
    served = serve(LONG, request_seconds=0.3)
    response = served.chat(model="long")
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "request_timeout"
    stream = served.chat(model="long", stream=True)
    assert stream.status_code == 200
    assert "request_timeout" in stream.text
    assert "[DONE]" not in stream.text
    served.until(lambda: not busy(served))


def test_a_client_that_does_not_read_is_cut_off(serve: Callable[..., Any]) -> None:
    served = serve({"flood": "tokens=1000000"}, reader_seconds=0.5)
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", served.port))
        body = json.dumps({"prompt": "ab", "stream": True, "max_tokens": 131072, "logprobs": None})
        head = f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n"
        reader.sendall(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
        served.until(lambda: busy(served))
        served.until(lambda: served.metric("camelid_clients_left_total") == 1, 15)
        served.until(lambda: not busy(served))
        connection = next(iter(served.server.server_state.connections), None)
        assert connection is None or connection.transport.get_write_buffer_size() < 1_000_000


def trickle(port: int, first: bytes, seconds: float) -> tuple[float, bytes]:
    """Send a byte at a time; how long the server bears it, and what it says."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(0.05)
        connection.sendall(first)
        started, said = time.monotonic(), b""
        while time.monotonic() - started < seconds:
            try:
                connection.sendall(b"x")
                piece = connection.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                break
            if not piece:
                break
            said += piece
        return time.monotonic() - started, said


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"GET /health HTTP/1.1\r\nhost: localhost\r\nx-",
        b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer open-sesame\r\n"
        b"content-type: application/json\r\ncontent-length: 100000\r\n\r\n",
    ],
)
def test_a_request_that_trickles_is_ended(serve: Callable[..., Any], first: bytes) -> None:
    served = serve(receive_seconds=0.5)
    took, said = trickle(served.port, first, 10)
    assert took < 3
    assert b" 408 " in said
    assert b'"code":"request_timeout"' in said
    assert served.chat().status_code == 200


def test_a_patient_stream_has_no_deadline_for_what_was_sent(serve: Callable[..., Any]) -> None:
    served = serve({"slow": "tokens=4,gap=0.3"}, receive_seconds=0.4)
    assert "[DONE]" in served.chat(stream=True).text
    assert served.chat().status_code == 200


def test_connections_are_bounded(serve: Callable[..., Any]) -> None:
    served = serve(connections=5)
    held = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(5)]
    served.until(lambda: len(served.server.server_state.connections) == 5)
    with socket.create_connection(("127.0.0.1", served.port)) as refused:
        refused.settimeout(5)
        assert b" 503 " in refused.recv(4096)
    for connection in held:
        connection.close()
    served.until(lambda: len(served.server.server_state.connections) == 0)
    assert served.chat().status_code == 200


def test_others_are_served_while_a_huge_prompt_is_read(serve: Callable[..., Any]) -> None:
    served = serve()
    huge = threading.Thread(target=served.chat, kwargs={"messages": [{"role": "user", "content": "word " * 300_000}]})
    huge.start()
    waits = []
    while huge.is_alive():
        started = time.monotonic()
        assert served.get("/health").status_code == 200
        waits.append(time.monotonic() - started)
    huge.join()
    assert sorted(waits)[len(waits) // 2] < 0.2
