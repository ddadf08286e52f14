"""A server that says what a test tells it to, byte for byte: for what real servers do only when they fail, and for
those that cannot be run here. It keeps what it was asked."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], bytes]
Respond = Callable[[str, Any], Answer]


@contextlib.contextmanager
def upstream(respond: Respond) -> Iterator[tuple[str, list[tuple[str, Any, str]]]]:
    """Its address, and (path, body, key) of everything it was asked; `respond(path, body)` answers."""
    asked: list[tuple[str, Any, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def _answer(self, body: Any) -> None:
            asked.append((self.path, body, self.headers.get("authorization", "")))
            status, headers, said = respond(self.path, body)
            self.send_response(status)
            for name, value in {"content-length": str(len(said)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ok(body: Any) -> Answer:
    return 200, {}, json.dumps(body).encode()


def sse(*events: Any) -> Answer:
    lines = b"".join(b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n" for event in events)
    return 200, {}, lines + b"data: [DONE]\n\n"


def lines(*events: Any) -> Answer:
    return 200, {}, b"".join(json.dumps(event).encode() + b"\n" for event in events)


def models(owner: str, *names: str, **more: Any) -> Answer:
    return ok({"object": "list", "data": [{"id": name, "owned_by": owner, **more} for name in names]})
