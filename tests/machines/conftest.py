"""A door in this process with a job table behind it, agents in processes of their own, and a network to cut."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from camelid_core.jobs.job import Job
from camelid_core.jobs.process_identity import ProcessIdentity
from camelid_core.jobs.run_directories import JOBS_DATABASE, attempt_directory
from camelid_core.jobs.store import JobStore
from camelid_core.machines.machine import add_machine
from camelid_core.registry import Registry
from camelid_serve.machines.certificate import server_identity
from camelid_serve.machines.door import Door
from camelid_serve.machines.door_server import door_server
from camelid_serve.machines.held_jobs import HeldJobs

HERE = Path(__file__).parent
JOBS_TESTS = HERE.parents[1] / "packages" / "core" / "tests" / "jobs"
PATIENCE = 120.0
"""Seconds that only what hangs takes."""


@dataclass
class OpenDoor:
    """The server's side: its table, and where it listens."""

    store: JobStore
    host: Any
    port: int = 0
    tokens: dict[str, str] = field(default_factory=dict)
    jobs: Any = None
    server: Any = None
    thread: Any = None

    def open(self) -> None:
        """At the same port as before, and with nothing in memory."""
        self.jobs = HeldJobs(self.store, lambda: self.host, PATIENCE)
        identity = server_identity(self.home)
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self.server = door_server(Door(self.jobs, identity).app(), self.store, identity)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/{server_identity(self.home).fingerprint}"

    @property
    def home(self) -> Path:
        return self.store.path.parent

    def token(self, name: str) -> str:
        self.tokens[name] = add_machine(self.store, name)
        return self.tokens[name]

    def attempt(self, job: Job, epoch: int = 1) -> Path:
        return attempt_directory(self.home, job.id, epoch)

    def end_lease(self, job: Job) -> None:
        """As when the machine that holds it was silent for that long."""
        with self.store.database.write() as db:
            db.execute("UPDATE job SET lease = 0 WHERE id = ?", (job.id,))


@dataclass
class RunningAgent:
    process: subprocess.Popen[bytes]
    home: Path
    log: Path

    def attempt(self, job: Job, epoch: int = 1) -> Path:
        server = next((self.home / "joined").iterdir())
        return attempt_directory(server / f"{job.id:06d}", job.id, epoch)

    def child(self, job: Job, epoch: int = 1) -> ProcessIdentity:
        found = ProcessIdentity.read(self.attempt(job, epoch))
        assert found is not None
        return found

    def vanish(self, job: Job, epoch: int = 1) -> None:
        """As when its machine loses power: nothing of it runs on."""
        self.process.kill()
        self.process.wait()
        self.child(job, epoch).kill()


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stub task, in this process and in those that are started from here."""
    monkeypatch.syspath_prepend(str(JOBS_TESTS))
    path = [str(JOBS_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    import ticking

    return ticking


@pytest.fixture
def open_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ticking: Any) -> Iterator[OpenDoor]:
    home = tmp_path / "server"
    monkeypatch.setenv("CAMELID_HOME", str(home))
    host: Any = SimpleNamespace(tasks={"tick": ticking.TICK}, datasets=Registry("dataset"), adapters=[])
    door = OpenDoor(JobStore(home / JOBS_DATABASE, backoff=(0.2, 0.2, 0.2)), host)
    door.open()
    yield door
    door.close()


@pytest.fixture
def start_agent(open_door: OpenDoor, tmp_path: Path) -> Iterator[Callable[..., RunningAgent]]:
    started: list[RunningAgent] = []

    def start(name: str, url: str = "") -> RunningAgent:
        home, log = tmp_path / name, tmp_path / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, str(HERE / "run_agent.py"), url or open_door.url, str(home)],
                stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT,
                env={**os.environ, "CAMELID_HOME": str(home)},
            )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(open_door.token(name).encode() + b"\n")
        process.stdin.close()
        started.append(RunningAgent(process, home, log))
        return started[-1]

    yield start
    for agent in started:
        agent.process.send_signal(18)  # SIGCONT: a stopped one could not be waited for
        agent.process.kill()
        agent.process.wait()
        for path in agent.home.glob("joined/*/[0-9]*/runs/*/*"):
            if (identity := ProcessIdentity.read(path)) is not None:
                identity.kill()


@pytest.fixture
def until() -> Callable[..., None]:
    def wait(condition: Callable[[], object], what: str = "it") -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not happen in time"
            time.sleep(0.05)

    return wait


@pytest.fixture
def alive() -> Callable[[int], bool]:
    def check(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return check


@dataclass
class Wire:
    """A TCP proxy: what passes through it can be cut."""

    to: int
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    whole: threading.Event = field(default_factory=threading.Event)
    sockets: list[socket.socket] = field(default_factory=list)
    cuts: int = 0
    """Connections that broke in the middle."""

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def serve(self) -> None:
        self.whole.set()
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if not self.whole.is_set():
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.to))
            except OSError:  # the server is being started anew
                client.close()
                continue
            self.sockets += [client, server]
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self.copy, args=pair, daemon=True).start()

    def copy(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        for each in (source, target):
            each.close()

    def cut(self) -> None:
        self.whole.clear()
        for each in self.sockets:
            self.cuts += each.fileno() >= 0
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self.sockets.clear()

    def mend(self) -> None:
        self.whole.set()


@pytest.fixture
def wire(open_door: OpenDoor) -> Iterator[Wire]:
    wire = Wire(open_door.port)
    threading.Thread(target=wire.serve, daemon=True).start()
    yield wire
    wire.cut()
    wire.listener.close()
