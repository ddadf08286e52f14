"""Too many requests, slow clients, disconnects: the server keeps its limits, and slots are released."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

pytestmark = pytest.mark.slow

LONG = {"long": "tokens=100000,gap=0.02", "second": "tokens=3,gap=0.1"}
KEY = "open-sesame"


def ask(served: Any, body: dict[str, Any]) -> http.client.HTTPConnection:
    """Send a request and do not wait for the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=240)
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    message = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 100_000, **body}
    connection.request("POST", "/v1/chat/completions", json.dumps(message), headers)
    return connection


def busy(served: Any) -> bool:
    return bool(served.state.slots.taken)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_slot(serve: Callable[..., Any], stream: bool) -> None:
    """Of an answer that would go on for half an hour."""
    served = serve(LONG, slots=1)
    connection = ask(served, {"stream": stream})
    if stream:
        connection.getresponse().read(1)
    served.until(lambda: busy(served))
    connection.close()
    served.until(lambda: not busy(served))
    served.until(lambda: served.metric("camelid_clients_left_total") == 1)  # counted once the slot is free
    assert int(stream) <= served.metric("camelid_generated_tokens_total") < 10_000
    assert served.chat(model="second").status_code == 200


def test_a_client_that_leaves_the_queue_is_never_run(serve: Callable[..., Any]) -> None:
    served = serve(LONG, slots=1)
    first, second = ask(served, {"stream": True}), ask(served, {"stream": True})
    served.until(lambda: served.state.slots.waiting == 1)
    second.close()
    served.until(lambda: served.state.slots.waiting == 0)
    first.close()
    served.until(lambda: not busy(served))


def test_a_full_queue_is_429_and_the_others_run_in_order(serve: Callable[..., Any]) -> None:
    served = serve(LONG, slots=1, queue=3)
    first = ask(served, {"stream": True})
    served.until(lambda: busy(served))
    served.state.supervisor.submit, begun = record_requests(served.state.supervisor.submit)
    with ThreadPoolExecutor() as pool:
        waiting = []
        for number in "123":
            said = [{"role": "user", "content": number}]
            waiting.append(pool.submit(served.chat, model="second", messages=said))
            served.until(lambda: served.state.slots.waiting == len(waiting))
        for _ in range(2):
            refused = served.chat(model="second")
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
            assert int(refused.headers["retry-after"]) >= 1
        first.close()
        assert [each.result().status_code for each in waiting] == [200] * 3
    assert [request["messages"][0]["content"] for request in begun] == ["1", "2", "3"]


def record_requests(submit: Callable[..., Any]) -> tuple[Callable[..., Any], list[dict[str, Any]]]:
    """The same function, and the list of requests that it gets."""
    given: list[dict[str, Any]] = []

    def recording(request: dict[str, Any], *more: Any) -> Any:
        given.append(request)
        return submit(request, *more)

    return recording, given


def test_several_answers_take_several_slots(serve: Callable[..., Any]) -> None:
    served = serve(LONG, slots=3)
    connection = ask(served, {"stream": True, "n": 2})
    served.until(lambda: served.state.slots.taken == 2)
    connection.close()
    connection = ask(served, {"stream": True, "n": 4})
    served.until(lambda: served.state.slots.taken == 3)
    connection.close()
    served.until(lambda: not busy(served))


def test_the_request_timeout_ends_an_answer(serve: Callable[..., Any]) -> None:
    served = serve(LONG, request_seconds=0.3)
    response = served.chat(model="long")
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "request_timeout"
    while (stream := served.chat(model="long", stream=True)).status_code != 200:  # over before it had begun
        limits = served.state.limits
        served.state.limits = limits.model_copy(update={"request_seconds": 4 * limits.request_seconds})
    assert "request_timeout" in stream.text
    assert "[DONE]" not in stream.text
    served.until(lambda: not busy(served))


def test_a_client_that_does_not_read_is_disconnected(serve: Callable[..., Any]) -> None:
    served = serve({"flood": "tokens=1000000"}, reader_seconds=0.5)
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", served.port))
        body = json.dumps({"prompt": "ab", "stream": True, "max_tokens": 131072, "logprobs": None})
        head = f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n"
        reader.sendall(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
        served.until(lambda: served.metric("camelid_clients_left_total") == 1)
        served.until(lambda: not busy(served))
        connection = next(iter(served.server.server_state.connections), None)
        assert connection is None or connection.transport.get_write_buffer_size() < 1_000_000


def trickle(port: int, first: bytes) -> bytes:
    """Send a byte at a time until the server closes the connection; returns its response."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(0.05)
        connection.sendall(first)
        until, said = time.monotonic() + 240, b""
        while time.monotonic() < until:
            with suppress(OSError):  # what it said before it closed can be read still
                connection.sendall(b"x")
            try:
                piece = connection.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                return said
            if not piece:
                return said
            said += piece
    raise AssertionError("the server reads on")


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
    said = trickle(served.port, first)
    assert b" 408 " in said
    assert b'"code":"request_timeout"' in said
    with served.loop_stopped():
        next_one = ask(served, {})
    assert next_one.getresponse().status == 200
    next_one.close()


def test_a_patient_stream_has_no_deadline_for_what_was_sent(serve: Callable[..., Any]) -> None:
    served = serve({"slow": "tokens=4,gap=0.3"}, receive_seconds=0.4)
    with served.loop_stopped():
        connection = ask(served, {"stream": True})
    assert b"[DONE]" in connection.getresponse().read()
    connection.close()


def test_connections_are_bounded(serve: Callable[..., Any]) -> None:
    served = serve(connections=5, receive_seconds=300)
    held = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(5)]
    served.until(lambda: len(served.server.server_state.connections) == 5)
    with socket.create_connection(("127.0.0.1", served.port)) as refused:
        refused.settimeout(60)
        assert b" 503 " in refused.recv(4096)
    for connection in held:
        connection.close()
    served.until(lambda: len(served.server.server_state.connections) == 0)
    assert served.chat().status_code == 200


def test_others_are_served_while_a_huge_prompt_is_sent_to_the_engine(serve: Callable[..., Any]) -> None:
    """The engine does not read it yet: it is much more than a pipe holds."""
    served = serve()
    said = [{"role": "user", "content": "word " * 190_000}]
    with ThreadPoolExecutor() as pool:
        with served.engine_stopped():
            huge = pool.submit(served.chat, messages=said)
            served.until(lambda: served.state.supervisor._process._child._write_lock.locked())
            assert served.get("/health").status_code == 200
            assert not huge.done()
        assert huge.result().json()["error"]["code"] == "context_length_exceeded"
