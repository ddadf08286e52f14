"""The processes that chaos hits beyond the server: the door, agents of other machines, and the network between them.

    far_parts.py door HOME OUTSIDE PORT
    far_parts.py agent URL MACHINE_HOME TOKEN_FILE

Knows how the product joins machines. Knows nothing of what goes wrong.
"""

from __future__ import annotations

import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from camelid_core.jobs.stop_signals import StopSignal, stop_on_signals
from camelid_core.jobs.store import JobStore
from full_stub import STUB
from parts import LEASE_SECONDS, SAVE_SECONDS, StubExecutor, WatchedStore


def door(home: Path, outside: Path, port: int) -> None:
    """The server's side of joined machines, on a port that stays the same."""
    from camelid_core.registry import Registry
    from camelid_serve.machines.certificate import server_identity
    from camelid_serve.machines.door import Door
    from camelid_serve.machines.door_server import door_server
    from camelid_serve.machines.held_jobs import HeldJobs

    host: Any = SimpleNamespace(tasks={"stub": STUB}, datasets=Registry("dataset"), adapters=[])
    store, identity = WatchedStore(home, outside), server_identity(home)
    app = Door(HeldJobs(store, lambda: host, LEASE_SECONDS), identity).app()
    with socket.create_server(("127.0.0.1", port)) as listener:
        door_server(app, store, identity).run(sockets=[listener])


def agent(url: str, home: Path, token: str) -> None:
    from camelid_core.machines.agent import Agent
    from camelid_core.machines.join_address import JoinAddress, ServerUnreachable
    from camelid_core.machines.own_description import describe_this_machine
    from camelid_core.machines.remote_store import RemoteStore

    host: Any = SimpleNamespace(tasks={"stub": STUB})
    with stop_on_signals(StopSignal()) as stop:
        try:
            store = RemoteStore(JoinAddress.parse(url), token, describe_this_machine(home, ["stub"]))
            joined = Agent(store, home, host, lambda text: print(text, flush=True), StubExecutor(), SAVE_SECONDS)
        except ServerUnreachable as error:
            sys.exit(str(error))  # it is started again
        joined.run_forever(stop)


def add_machines(store: JobStore, names: list[str], top: Path) -> dict[str, Path]:
    """Let machines in; a file with the token of each."""
    from camelid_core.machines.machine import add_machine

    files = {}
    for name in names:
        files[name] = top / f"{name}.token"
        files[name].touch(0o600)
        files[name].write_text(add_machine(store, name), encoding="ascii")
    return files


class Wire:
    """A network between one machine and the door, which can be cut and mended."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._whole = True
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._whole = False
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._sockets = []

    def mend(self) -> None:
        self._whole = True

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            try:
                server = socket.create_connection(("127.0.0.1", self._to))
            except OSError:  # the door is being started again
                client.close()
                continue
            self._sockets = [each for each in self._sockets if each.fileno() >= 0] + [client, server]
            if not self._whole:
                self.cut()
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=pair, daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for each in (source, target):
            each.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    if sys.argv[1] == "door":
        door(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    else:
        agent(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]).read_text(encoding="ascii"))
