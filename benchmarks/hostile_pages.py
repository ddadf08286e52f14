"""What hostile clients cost the web pages: their memory, and how soon others are answered meanwhile.

    python benchmarks/hostile_pages.py [--profile local|demo] [--seconds 20]

`camelid ui` is started with a tiny model and attacked: with bodies of 100 MB, sockets that send a byte a second,
thousands of quick connections, and conversations of 400,000 brackets that are opened. Another client asks for
`/health` all the while. Prints JSON: seconds until `/health` answered, and the server's peak memory, by attack.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from camelid_core.testing import tiny_model
from rivals import machine

BODY, SLOW, QUICK, BRACKETS = 100_000_000, 300, 10_000, 400_000
PIECE = bytes(1_000_000)


class Pages:
    """Running pages: where they are and what their process has taken."""

    def __init__(self, process: subprocess.Popen[bytes], address: dict[str, Any]) -> None:
        self.pid, self.port, self.token = process.pid, int(address["port"]), str(address["token"])
        self.url = f"http://127.0.0.1:{self.port}"

    def head(self, path: str, *lines: str) -> bytes:
        fixed = (f"POST {path} HTTP/1.1", "host: localhost", f"authorization: Bearer {self.token}")
        return "\r\n".join([*fixed, "content-type: application/json", *lines, "", ""]).encode()

    def megabytes(self, what: str = "VmHWM") -> float:
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(what))

    def ask(self, path: str, body: Any = None) -> bytes:
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        while True:
            try:
                with urlopen(Request(self.url + path, data, headers), timeout=60) as response:
                    return bytes(response.read())
            except HTTPError as error:
                error.close()
                if error.code not in (429, 503):
                    raise
                time.sleep(float(error.headers.get("retry-after", 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=["local", "demo"], default="local")
    parser.add_argument("--seconds", type=float, default=20)
    arguments = parser.parse_args()
    attacks = {"bodies": bodies, "slow": slow, "quick": quick, "brackets": brackets}
    with tempfile.TemporaryDirectory() as directory, running(Path(directory), arguments.profile) as pages:
        quiet = {"megabytes": pages.megabytes(), **health(pages, lambda: time.sleep(5))}
        found = {name: measured(pages, attack, arguments.seconds) for name, attack in attacks.items()}
    print(json.dumps({"profile": arguments.profile, "quiet": quiet, **found, "machine": machine()}, indent=2))


@contextmanager
def running(home: Path, profile: str) -> Iterator[Pages]:
    tiny_model(home / "models" / "tiny")
    command = [sys.executable, "-P", "-m", "camelid_core.cli", "ui", "--port", "0", "--profile", profile]
    with (home / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | {"CAMELID_HOME": str(home)}, stdout=log, stderr=log)
    address = home / "ui.json"
    while True:
        if process.poll() is not None:
            raise SystemExit((home / "log.txt").read_text())
        with suppress(OSError, ValueError), urlopen(_health(json.loads(address.read_text())["port"]), timeout=1):
            break
        time.sleep(0.2)
    try:
        pages = Pages(process, json.loads(address.read_text()))
        pages.ask("/config")
        yield pages
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _health(port: int) -> str:
    return f"http://127.0.0.1:{port}/health"


def measured(pages: Pages, attack: Callable[[Pages, float], dict[str, Any]], seconds: float) -> dict[str, Any]:
    told: dict[str, Any] = {}
    waits = health(pages, lambda: told.update(attack(pages, seconds)))
    return {**told, **waits, "megabytes": round(pages.megabytes())}


def health(pages: Pages, meanwhile: Callable[[], None]) -> dict[str, Any]:
    """How long `/health` took while that went on."""
    waits, over = [], threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            began = time.monotonic()
            with suppress(OSError), urlopen(_health(pages.port), timeout=60) as response:
                response.read()
            waits.append(time.monotonic() - began)

    watcher = threading.Thread(target=watch)
    watcher.start()
    meanwhile()
    over.set()
    watcher.join()
    spread = statistics.quantiles(waits, n=100) if len(waits) > 1 else waits * 99
    return {"health_p50_ms": round(1000 * spread[49]), "health_max_ms": round(1000 * max(waits)), "asked": len(waits)}


def bodies(pages: Pages, seconds: float) -> dict[str, Any]:
    """Eight at once, with and without a word about their length."""
    sent, codes = 0, set()
    until = time.monotonic() + seconds

    def one(chunked: bool) -> None:
        nonlocal sent
        lines = ("transfer-encoding: chunked",) if chunked else (f"content-length: {BODY}",)
        while time.monotonic() < until:
            with socket.create_connection(("127.0.0.1", pages.port), timeout=60) as connection:
                with suppress(OSError):
                    connection.sendall(pages.head("/gradio_api/queue/join", *lines))
                    for _ in range(BODY // len(PIECE)):
                        connection.sendall(b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if chunked else PIECE)
                        sent += len(PIECE)
                with suppress(OSError):
                    codes.add(connection.recv(12)[9:].decode())

    _together([lambda kind=number % 2 == 0: one(kind) for number in range(8)])
    return {"sent_mb": sent // 1_000_000, "answers": sorted(codes)}


def slow(pages: Pages, seconds: float) -> dict[str, Any]:
    """A byte a second each: in the headers, in a body, in nothing at all."""
    starts = (b"", b"GET / HTTP/1.1\r\nx-", pages.head("/gradio_api/queue/join", "content-length: 1000"))
    with ExitStack() as stack:
        held = []
        for number in range(SLOW):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", pages.port), timeout=60))
            with suppress(OSError):
                connection.sendall(starts[number % 3])
            connection.setblocking(False)
            held.append(connection)
        until = time.monotonic() + max(seconds, 20)
        while time.monotonic() < until:
            time.sleep(1)
            for connection in held:
                with suppress(OSError):
                    connection.send(b"x")
        return {"sockets": SLOW, "left_after": round(max(seconds, 20)), "left": sum(map(_is_open, held))}


def _is_open(connection: socket.socket) -> bool:
    try:
        while connection.recv(4096):
            pass
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def quick(pages: Pages, seconds: float) -> dict[str, Any]:
    """As fast as they come: half ask and leave without an answer."""
    done, began = 0, time.monotonic()
    for number in range(QUICK):
        with suppress(OSError), socket.create_connection(("127.0.0.1", pages.port), timeout=60) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            if number % 2:
                connection.recv(4096)
        done += 1
    return {"connections": done, "seconds": round(time.monotonic() - began, 1)}


def brackets(pages: Pages, seconds: float) -> dict[str, Any]:
    """A conversation that is opened on the Chat page, as a browser's history gives it."""
    config = json.loads(pages.ask("/config"))
    listed = next(each["id"] for each in config["components"] if each["props"].get("elem_id") == "chat-history")
    handler = next(each for each in config["dependencies"] if [listed, "select"] in each["targets"])
    answer = {"text": "[" * BRACKETS}
    turn = {"question": "Why?", "parent": -1, "system": "", "seed": 0, "answers": {"tiny": answer}}
    talk = {"version": 1, "turns": [turn], "at": 0, "ident": "x"}
    data = {"value": json.dumps({"talk": talk})}
    until, took = time.monotonic() + seconds, []
    while time.monotonic() < until:
        began, session = time.monotonic(), f"session{len(took)}"
        body = {"fn_index": handler["id"], "data": [], "event_data": data, "session_hash": session}
        pages.ask("/gradio_api/queue/join", body)
        said = pages.ask(f"/gradio_api/queue/data?session_hash={session}").decode()
        assert "process_completed" in said, said[:500]
        assert "unformatted" in said, said[:2000]
        took.append(time.monotonic() - began)
    return {"opened": len(took), "longest_ms": round(1000 * max(took))}


def _together(actions: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=action) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
