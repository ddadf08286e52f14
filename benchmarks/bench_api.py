"""Load on the HTTP API with a stub engine: throughput, own overhead, streams, hostile clients, overload.

    python benchmarks/bench_api.py --out api.json          # about a minute; --seconds 60 for the long run

The server and its engine process run as in production, with keys, limits and all layers; only the model is a stub
that answers at once or at a set pace. Closed loop where connections are given, open loop for overload. The client is
our own, on the same machine, so the figures include it: run on a quiet machine, and take the median of three runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

KEY = "bench"
HOST = "127.0.0.1"
LIMITS = {"slots": 128, "queue": 256, "receive_seconds": 15, "connections": 2000, "choices": 4}
MODELS = {
    "instant": "tokens=8",
    "paced": "tokens=80,gap=0.05,first=0.05",
    "endless": "tokens=100000,gap=0.02",
    "second": "tokens=10,gap=0.1",
}
TARGETS = {
    "requests_per_second": 400,
    "overhead_ms": [2, 8, 15],
    "latency_ms_at_32": [40, 80, 120],
    "added_gap_p99_ms": 50,
    "health_p99_ms": 200,
    "slot_free_s": 1,
    "refusal_p99_ms": 50,
}


def serve(port: int, limits: dict[str, Any]) -> None:
    """The server's process."""
    from camelid_core.server_address import listening_socket
    from camelid_serve.api.app import build_app, with_guard
    from camelid_serve.api.limits import Limits
    from camelid_serve.api.server import server
    from camelid_serve.api.supervisor import ServedModels
    from camelid_serve.config import EngineConfig
    from camelid_serve.engine_process.client import EngineProcess

    bounds = Limits(**limits)
    app = build_app(
        ServedModels(MODELS, EngineConfig(slots=bounds.slots)), bounds, EngineProcess("camelid_serve.testing")
    )
    with listening_socket(HOST, port) as listener:
        server(with_guard(app, [KEY], [HOST]), app.state.serving).run(sockets=[listener])


class Connection:
    """One keep-alive connection, as little client as will do."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, method: str, path: str, body: bytes = b"") -> None:
        if self._writer is None or self._writer.is_closing():
            self._reader, self._writer = await asyncio.open_connection(HOST, self._port, limit=1 << 22)
        head = f"{method} {path} HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {KEY}\r\n"
        if body:
            head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self._writer.write(head.encode() + b"\r\n" + body)

    async def answer(self) -> tuple[int, bytes]:
        """Status and body; of a stream, nothing is read but the head."""
        reader = self._reader
        assert reader is not None
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        status = int(head.split(b" ", 2)[1])
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), None)
        body = await reader.readexactly(length) if length is not None else b""
        if b"connection: close" in lines:
            self.close()
        return status, body

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        await self.send(method, path, body)
        return await self.answer()

    async def events(self) -> list[float]:
        """When each event of a stream that was asked for came."""
        reader = self._reader
        assert reader is not None
        times = []
        while True:
            line = await reader.readline()
            if line.startswith(b"data: [DONE]") or not line:
                return times
            if line.startswith(b"data: "):
                times.append(time.perf_counter())

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def chat(model: str, stream: bool = False, tokens: int = 100_000, text: str = "Hello there") -> bytes:
    messages = [{"role": "user", "content": text}]
    return json.dumps({"model": model, "messages": messages, "stream": stream, "max_tokens": tokens}).encode()


CHAT = "/v1/chat/completions"


async def overhead(port: int, count: int) -> dict[str, Any]:
    """One connection: all the time there is is ours, the stub takes none."""
    return {"requests": count, "ms": percentiles(await closed_loop(port, chat("instant", tokens=1), count))}


async def closed_loop(port: int, body: bytes, count: int) -> list[float]:
    connection = Connection(port)
    times = []
    for number in range(count + 20):
        started = time.perf_counter()
        status, _ = await connection.ask("POST", CHAT, body)
        assert status == 200
        if number >= 20:
            times.append(time.perf_counter() - started)
    connection.close()
    return times


async def throughput(port: int, connections: int, seconds: float) -> dict[str, Any]:
    statuses: Counter[int] = Counter()
    times: list[float] = []
    until = time.perf_counter() + seconds

    async def one() -> None:
        connection, body = Connection(port), chat("instant")
        while (started := time.perf_counter()) < until:
            status, _ = await connection.ask("POST", CHAT, body)
            statuses[status] += 1
            times.append(time.perf_counter() - started)
        connection.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    rate = statuses[200] / seconds
    return {"connections": connections, "per_second": round(rate, 1), "ms": percentiles(times), "statuses": statuses}


async def streams(port: int, count: int) -> dict[str, Any]:
    """What the server adds to the gaps between the tokens of many streams at once."""
    pace = 0.05
    # every token of this prompt, which the stub says over and over, is a text of its own
    body = json.dumps({"model": "paced", "prompt": "a b c d", "max_tokens": 100, "stream": True}).encode()

    async def one(number: int) -> tuple[float, list[float]]:
        await asyncio.sleep(number * 0.01)
        connection = Connection(port)
        started = time.perf_counter()
        await connection.send("POST", "/v1/completions", body)
        await connection.answer()
        times = await connection.events()
        connection.close()
        return times[1] - started, times

    results = await asyncio.gather(*(one(number) for number in range(count)))
    added = [later - earlier - pace for _, times in results for earlier, later in pairwise(times[2:-2])]
    late = [first - pace for first, _ in results]
    return {"streams": count, "added_gap_ms": percentiles(added), "first_token_ms": percentiles(late)}


async def hostile(port: int, seconds: float) -> dict[str, Any]:
    """`/health` while others trickle, send huge prompts and leave in the middle."""
    times: list[float] = []
    statuses: Counter[int] = Counter()
    until = time.perf_counter() + seconds
    huge = chat("instant", text="word " * 200_000)

    async def trickle() -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(HOST, port)
            while time.perf_counter() < until and not reader.at_eof():
                writer.write(b"x")
                await asyncio.sleep(1)
            writer.close()

    async def shout() -> None:
        while time.perf_counter() < until:
            connection = Connection(port)
            with suppress(OSError, asyncio.IncompleteReadError):
                statuses[(await connection.ask("POST", CHAT, huge))[0]] += 1
            connection.close()
            await asyncio.sleep(0.2)

    async def leave() -> None:
        while time.perf_counter() < until:
            connection = Connection(port)
            await connection.send("POST", CHAT, chat("endless", stream=True))
            statuses[(await connection.answer())[0]] += 1
            await asyncio.sleep(0.1)
            connection.close()

    async def watch() -> None:
        connection = Connection(port)
        while time.perf_counter() < until:
            started = time.perf_counter()
            status, _ = await connection.ask("GET", "/health")
            assert status == 200
            times.append(time.perf_counter() - started)
            await asyncio.sleep(0.02)
        connection.close()

    await asyncio.gather(*(trickle() for _ in range(200)), shout(), *(leave() for _ in range(10)), watch())
    return {"health_ms": percentiles(times), "others": statuses}


async def leaving(port: int, count: int) -> dict[str, Any]:
    """How soon a slot is free after its client has left, with and without a stream."""
    found: dict[str, Any] = {}
    for stream in (True, False):
        took = []
        for _ in range(count):
            connection, watcher = Connection(port), Connection(port)
            await connection.send("POST", CHAT, chat("endless", stream=stream))
            while await taken(watcher) == 0:
                await asyncio.sleep(0.01)
            connection.close()
            started = time.perf_counter()
            while await taken(watcher):
                await asyncio.sleep(0.005)
            took.append(time.perf_counter() - started)
            watcher.close()
        found["stream" if stream else "whole"] = {"max_s": round(max(took), 3), "count": count}
    return found


async def taken(connection: Connection) -> int:
    _, text = await connection.ask("GET", "/metrics")
    return int(text.split(b"\ncamelid_slots_taken ")[1].split(b"\n")[0])


async def overload(port: int, seconds: float) -> dict[str, Any]:
    """Ten times what can be answered, open loop: the rest is refused, and at once. An answer takes a second."""
    capacity = 4.0
    statuses: Counter[int] = Counter()
    refused: list[float] = []
    answered: list[float] = []

    async def one() -> None:
        connection = Connection(port)
        started = time.perf_counter()
        status, _ = await connection.ask("POST", CHAT, chat("second"))
        statuses[status] += 1
        (answered if status == 200 else refused).append(time.perf_counter() - started)
        connection.close()

    tasks = []
    started = time.perf_counter()
    while (now := time.perf_counter() - started) < seconds:
        while len(tasks) < now * capacity * 10:
            tasks.append(asyncio.ensure_future(one()))
        await asyncio.sleep(0.005)
    await asyncio.gather(*tasks)
    took = time.perf_counter() - started
    share = statuses[200] / (capacity * took)
    return {
        "offered_per_second": capacity * 10,
        "goodput_share_of_capacity": round(share, 3),
        "statuses": statuses,
        "refusal_ms": percentiles(refused),
        "longest_wait_over_mean": round(max(answered) / statistics.mean(answered), 2),
    }


def percentiles(times: list[float]) -> dict[str, float]:
    """In milliseconds."""
    if len(times) < 2:
        return {}
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return {name: round(cuts[at] * 1000, 2) for name, at in (("p50", 49), ("p95", 94), ("p99", 98))}


class Server:
    """The server in a process of its own."""

    def __init__(self, port: int, **limits: Any) -> None:
        self.port = port
        bounds = json.dumps({**LIMITS, **limits})
        self._process = subprocess.Popen([sys.executable, __file__, "--serve", str(port), "--limits", bounds])

    async def __aenter__(self) -> Server:
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                if (await Connection(self.port).ask("GET", "/ready"))[0] == 200:
                    return self
            assert self._process.poll() is None, "the server did not start"
            await asyncio.sleep(0.1)

    async def __aexit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)

    def resident_mb(self) -> float:
        import psutil

        return round(psutil.Process(self._process.pid).memory_info().rss / 1e6, 1)


async def measure(seconds: float, port: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    async with Server(port) as server:
        found["overhead"] = await overhead(port, 500)
        found["throughput"] = await throughput(port, 32, seconds)
        found["streams"] = await streams(port, 100)
        found["leaving"] = await leaving(port, 5)
        found["hostile"] = await hostile(port, seconds)
        found["server_mb"] = server.resident_mb()
    async with Server(port + 1, slots=4, queue=8):
        found["overload"] = await overload(port + 1, seconds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each load")
    parser.add_argument("--port", type=int, default=18650)
    parser.add_argument("--out", type=Path, help="file for the figures as JSON")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--limits", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.limits)
        return
    load = os.getloadavg()
    found = asyncio.run(measure(options.seconds, options.port))
    machine = {
        "cores": os.cpu_count(),
        "load_before": load,
        "load_after": os.getloadavg(),
        "python": platform.python_version(),
    }
    text = json.dumps({"benchmark": "api", "machine": machine, "targets": TARGETS, **found}, indent=2)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
