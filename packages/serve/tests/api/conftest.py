"""A real server on loopback, in this process; its engine is a stub in a process of its own, kept between tests."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from camelid_core.server_address import listening_socket
from camelid_serve.api.app import build_app, with_guard
from camelid_serve.api.limits import Limits
from camelid_serve.api.server import server
from camelid_serve.api.supervisor import ServedModels
from camelid_serve.config import EngineConfig
from camelid_serve.engine_process.client import EngineProcess

KEY = "open-sesame"
ASK = [{"role": "user", "content": "Hello there"}]


class SharedEngineProcess(EngineProcess):
    """Shared by the servers of all tests, one after the other."""

    def close(self) -> None:
        """Not yet."""

    def close_for_good(self) -> None:
        super().close()


class Served:
    """A running server. `post` and `get` send the key; `state` is what its routes share."""

    def __init__(
        self, models: dict[str, str], limits: Limits, process: EngineProcess, keys: list[str], origins: Any = ()
    ) -> None:
        self.failure: list[Any] = []
        self._started = threading.Event()
        app = build_app(
            ServedModels(models, EngineConfig(slots=limits.slots, dtype="float32")), limits, process, self._note
        )
        self.state = app.state.serving
        self._stack = contextlib.ExitStack()
        self._listener = self._stack.enter_context(listening_socket("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.server = server(with_guard(app, keys, {"127.0.0.1", "localhost"}, origins), self.state)
        self._thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self._listener]})
        self.client = httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {KEY}"}, timeout=240)

    def _note(self, error: Any) -> None:
        self.failure = [error] if error else []
        self._started.set()

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(120)

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(60)
        self.client.close()
        self._stack.close()
        assert not self._thread.is_alive()

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.client.post(path, **({"json": body} if body is not None else {}), **options)

    def chat(self, **fields: Any) -> httpx.Response:
        return self.post("/v1/chat/completions", {"messages": ASK, **fields})

    def metric(self, name: str) -> float:
        lines = self.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for `holds`, longer than anything takes that does not hang."""
        started = time.monotonic()
        while not holds():
            assert time.monotonic() - started < 60, "it did not come about"
            time.sleep(0.01)

    @contextlib.contextmanager
    def engine_stopped(self) -> Iterator[None]:
        """Meanwhile the engine process is stopped: requests run until the end of this."""
        pid = self.state.supervisor._process._child.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def loop_stopped(self) -> Iterator[None]:
        """Meanwhile the server's event loop is blocked: what is sent arrives all at once."""
        go_on = threading.Event()
        self.state.supervisor.loop.call_soon_threadsafe(go_on.wait)
        try:
            yield
        finally:
            go_on.set()


@pytest.fixture(scope="session")
def process() -> Iterator[SharedEngineProcess]:
    process = SharedEngineProcess("camelid_serve.testing")
    yield process
    process.close_for_good()


@pytest.fixture
def serve(process: SharedEngineProcess) -> Iterator[Callable[..., Served]]:
    """Start a server: `serve({"label": "tokens=8"}, queue=2)`."""
    with contextlib.ExitStack() as stack:

        def start(models: dict[str, str] | None = None, own: Any = None, origins: Any = (), **limits: Any) -> Served:
            served = Served(models or {"fast": "tokens=8"}, Limits(**limits), own or process, [KEY], origins)
            served.start()
            stack.callback(served.stop)
            return served

        yield start


MODELS = {"fast": "tokens=8", "long": "tokens=100000,gap=0.02", "failing": "tokens=100,fail=3"}


@pytest.fixture(scope="module")
def api(process: SharedEngineProcess) -> Iterator[Served]:
    """One server for all tests of a module that leave it as it was."""
    served = Served(MODELS, Limits(max_tokens=100_000, body_bytes=200_000), process, [KEY])
    served.start()
    yield served
    served.stop()


@pytest.fixture(scope="session")
def served_class() -> type[Served]:
    return Served
