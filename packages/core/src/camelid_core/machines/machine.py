"""Machines that may lease jobs from here: their table in the job database, and the tokens they show.

Knows names, hashes of tokens, and what each machine last said of itself. Knows nothing of HTTP or of what machines run.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import sqlite3
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from camelid_core.errors import JobError, UnknownName, UsageError
from camelid_core.jobs.job import ACTIVE
from camelid_core.jobs.store import JobStore
from camelid_core.paths import safe_name

ONLINE_SECONDS = 15.0
"""A machine that was heard of within so many seconds counts as there."""
_OWNER = "agent"
_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One card of a machine; memory in bytes, `free` as last measured."""

    name: str = ""
    memory: int = 0
    free: int = 0


@dataclass(frozen=True, slots=True)
class MachineDescription:
    """What a machine says of itself: memory in bytes, `load` as the share of its cores that is busy (1.0 is all)."""

    host: str = ""
    system: str = ""
    cores: int = 0
    memory: int = 0
    memory_free: int = 0
    disk_free: int = 0
    load: float = 0.0
    accelerators: tuple[Accelerator, ...] = ()
    tasks: tuple[str, ...] = ()
    version: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that was added here. `created`, `seen` and `revoked` are Unix times, 0 for never; `jobs` are the
    numbers of those it holds now."""

    name: str
    created: float = 0.0
    seen: float = 0.0
    revoked: float = 0.0
    online: bool = False
    jobs: tuple[int, ...] = ()
    description: MachineDescription = field(default_factory=MachineDescription)

    @property
    def state(self) -> str:
        """One word: revoked, online, away, or new where it was never heard of."""
        if self.revoked:
            return "revoked"
        return "online" if self.online else "away" if self.seen else "new"


def machines(store: JobStore) -> list[Machine]:
    """All machines that were added, by name; the revoked ones last."""
    with store.database.read() as db:
        rows = db.execute("SELECT * FROM machine ORDER BY revoked > 0, name").fetchall()
        held = db.execute("SELECT id, owner FROM job WHERE state IN ('claimed', 'running') ORDER BY id").fetchall()
    jobs: dict[str, list[int]] = {}
    for row in held:
        jobs.setdefault(machine_of(row["owner"]), []).append(row["id"])
    return [_from_row(row, store.clock.wall(), jobs.get(row["name"], [])) for row in rows]


def add_machine(store: JobStore, name: str) -> str:
    """Let a machine in under this name; the token that it must show, of which only the hash is kept.

    Raises:
        UsageError: the name is no name, or in use.
    """
    safe_name(name, "machine name")
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    with store.database.write() as db:
        if db.execute("SELECT 1 FROM machine WHERE name = ? AND revoked = 0", (name,)).fetchone():
            raise UsageError(
                f"there is a machine {name!r} already; give another name, or `camelid machines revoke {name}` first."
            )
        db.execute(
            "INSERT OR REPLACE INTO machine (name, token, created) VALUES (?, ?, ?)",
            (name, token_hash(token), store.clock.wall()),
        )
    return token


def revoke_machine(store: JobStore, name: str) -> tuple[int, ...]:
    """Let the machine in no more. The jobs it held are lost to it and go to others; their numbers.

    Raises:
        UnknownName: no such machine, or revoked before.
    """
    with store.database.write() as db:
        row = db.execute("SELECT revoked FROM machine WHERE name = ?", (name,)).fetchone()
        if row is None or row["revoked"]:
            known = [each["name"] for each in db.execute("SELECT name FROM machine WHERE revoked = 0")]
            raise UnknownName("machine", name, known)
        db.execute("UPDATE machine SET revoked = ? WHERE name = ?", (store.clock.wall(), name))
    held = [job for job in store.list(ACTIVE, limit=10_000) if machine_of(job.owner) == name]
    for job in held:
        store.mark_lost(job)
    return tuple(job.id for job in held)


def machine_with_token(store: JobStore, token: str) -> str:
    """The name of the machine that was given this token; empty if there is none, or it was revoked.

    All hashes are compared, each in constant time.
    """
    given, found = token_hash(token), ""
    with store.database.read() as db:
        for row in db.execute("SELECT name, token FROM machine WHERE revoked = 0"):
            if hmac.compare_digest(given, row["token"]):
                found = row["name"]
    return found


def note_machine(store: JobStore, name: str, description: MachineDescription | None = None) -> None:
    """It was heard of now; with what it says of itself, where it does."""
    values: dict[str, Any] = {"name": name, "seen": store.clock.wall()}
    update = "UPDATE machine SET seen = :seen WHERE name = :name"
    if description is not None:
        values["description"] = json.dumps(asdict(description))
        update = "UPDATE machine SET seen = :seen, description = :description WHERE name = :name"
    with store.database.write() as db:
        db.execute(update, values)


def owner_name(machine: str, session: str) -> str:
    """What a job's `owner` says where a machine's agent holds it; `session` is one start of the agent."""
    return f"{_OWNER}:{machine}:{session}"


def machine_of(owner: str) -> str:
    """The machine whose agent holds a job, by the job's `owner`; empty for a worker of this machine."""
    kind, _, rest = owner.partition(":")
    return rest.partition(":")[0] if kind == _OWNER and rest.count(":") == 1 else ""


def token_hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def describe_machine(values: Any) -> MachineDescription:
    """A description from JSON; what is unknown is left out.

    Raises:
        JobError: no object, or a value of another kind.
    """
    if not isinstance(values, dict):
        raise JobError("a machine is described by a JSON object.")
    known = {each.name: values[each.name] for each in fields(MachineDescription) if each.name in values}
    try:
        known["accelerators"] = tuple(Accelerator(**each) for each in known.get("accelerators", ()))
        known["tasks"] = tuple(map(str, known.get("tasks", ())))
        return MachineDescription(**known)
    except (TypeError, ValueError) as error:
        raise JobError(f"this describes no machine: {error}.") from None


def _from_row(row: sqlite3.Row, now: float, jobs: list[int]) -> Machine:
    fresh = not row["revoked"] and 0 <= now - row["seen"] < ONLINE_SECONDS
    said = describe_machine(json.loads(row["description"]))
    return Machine(row["name"], row["created"], row["seen"], row["revoked"], fresh, tuple(jobs), said)
