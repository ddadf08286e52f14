"""Which workers are alive, and what their machines have: each renews a row while it runs (heartbeat).

Knows the tables of workers and of joined machines. Knows nothing of jobs. Only for deciding whether to start a worker;
what a worker may do rests on its leases alone.
"""

from __future__ import annotations

import json
import os
import threading
from types import TracebackType
from typing import Self

from camelid_core.errors import JobError

from .resources import Resources
from .store import JobStore

_FRESH_SECONDS = 15.0
_STARTING = "starting"
_WRITE = "INSERT OR REPLACE INTO worker (name, pid, boot, until, resources) VALUES (?, ?, ?, ?, ?)"


def live_workers(store: JobStore) -> list[str]:
    """Names of workers that were seen within the last 15 s."""
    query = "SELECT name FROM worker WHERE boot = ? AND until > ? ORDER BY name"
    with store.database.read() as db:
        return [row["name"] for row in db.execute(query, (store.clock.boot(), store.clock.now()))]


def anyone_works(store: JobStore) -> bool:
    """Whether a worker of this machine or of a joined one was seen within the last 15 s."""
    return bool(live_workers(store) or live_machines(store))


def live_machines(store: JobStore) -> list[Resources]:
    """What the machines have whose workers were seen within the last 15 s, joined ones included."""
    query = "SELECT DISTINCT resources FROM worker WHERE boot = ? AND until > ? AND resources <> 'null'"
    fresh = "SELECT name, description FROM machine WHERE revoked = 0 AND seen > ?"
    with store.database.read() as db:
        rows = db.execute(query, (store.clock.boot(), store.clock.now())).fetchall()
        joined = db.execute(fresh, (store.clock.wall() - _FRESH_SECONDS,)).fetchall()
    machines = [Resources.from_json(json.loads(row["resources"])) for row in rows]
    machines += [Resources.of_joined(row["name"], json.loads(row["description"])) for row in joined]
    return list({machine.machine: machine for machine in machines}.values())


def reserve_worker_start(store: JobStore) -> bool:
    """True for one caller if no worker is alive or being started: that caller starts one."""
    with store.database.write() as db:
        now = store.clock.now()
        if db.execute("SELECT 1 FROM worker WHERE boot = ? AND until > ?", (store.clock.boot(), now)).fetchone():
            return False
        values = (_STARTING, os.getpid(), store.clock.boot(), now + _FRESH_SECONDS)
        db.execute(_WRITE, (*values, "null"))
        return True


class WorkerPresence:
    """While entered, the worker `name` counts as alive, and its machine's `resources` as there."""

    def __init__(self, store: JobStore, name: str, resources: Resources | None = None) -> None:
        self._store = store
        self._name = name
        self._resources = json.dumps(None if resources is None else resources.to_json())
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="presence", daemon=True)

    def __enter__(self) -> Self:
        self._write_row()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join()
        with self._store.database.write() as db:
            db.execute("DELETE FROM worker WHERE name = ?", (self._name,))

    def _renew(self) -> None:
        while not self._stopped.wait(_FRESH_SECONDS / 3):
            try:
                self._write_row()
            except JobError:
                continue  # locked for long; the next renewal may succeed, and no job depends on this

    def _write_row(self) -> None:
        now = self._store.clock.now()
        values = (self._name, os.getpid(), self._store.clock.boot(), now + _FRESH_SECONDS)
        with self._store.database.write() as db:
            db.execute("DELETE FROM worker WHERE name = ? OR boot <> ? OR until < ?", (_STARTING, values[2], now))
            db.execute(_WRITE, (*values, self._resources))
