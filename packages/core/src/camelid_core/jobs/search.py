"""Finding jobs: by state, task, words and time of the end; by number; by what they need; by how their key begins.

Knows columns. Knows nothing of how a listing looks.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from .job import Job, JobState
from .job_rows import from_row
from .store import JobStore

_WANTED = """
  leader = 0 AND state IN (SELECT value FROM json_each(:states)) AND (:task = '' OR task = :task)
  AND (:user = '' OR user = :user) AND (:ended_after = 0 OR ended > :ended_after)
  AND (:text = '' OR id = :number OR name LIKE :pattern ESCAPE '\\' OR task LIKE :pattern ESCAPE '\\'
       OR error LIKE :pattern ESCAPE '\\')"""
_ORDERS = {"newest": "id DESC", "begin": "priority DESC, id", "end": "ended DESC, id DESC"}
Order = Literal["newest", "begin", "end"]
"""The newest first; in the order in which they begin; the newest end first."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """What to look for; empty fields let everything through. `text` is a job's number, or part of its name, task or
    error, in any case; `ended_after` a Unix time."""

    states: Collection[JobState] = ()
    task: str = ""
    text: str = ""
    ended_after: float = 0.0
    user: str = ""

    def values(self) -> dict[str, Any]:
        """As the query takes them."""
        text = self.text.strip()
        escaped = text.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
        return {
            "states": json.dumps([str(state) for state in self.states or JobState]),
            "task": self.task,
            "user": self.user,
            "ended_after": self.ended_after,
            "text": text,
            "number": int(text) if text.isdecimal() and len(text) < 18 else -1,
            "pattern": f"%{escaped}%",
        }


def find_jobs(store: JobStore, wanted: JobFilter, limit: int, order: Order = "newest") -> list[Job]:
    """At most `limit` jobs."""
    query = f"SELECT * FROM job WHERE {_WANTED} ORDER BY {_ORDERS[order]} LIMIT :limit"  # noqa: S608 - constants
    with store.database.read() as db:
        return [from_row(row) for row in db.execute(query, wanted.values() | {"limit": limit})]


def count_jobs(store: JobStore, wanted: JobFilter) -> int:
    with store.database.read() as db:
        return int(db.execute(f"SELECT count(*) FROM job WHERE {_WANTED}", wanted.values()).fetchone()[0])  # noqa: S608


def jobs_that_need(store: JobStore, job_id: int, limit: int) -> list[Job]:
    """The jobs that are begun once this one has succeeded, whatever has become of them; the oldest first."""
    query = (
        "SELECT job.* FROM job, json_each(job.depends_on) AS needed WHERE job.depends_on <> '[]' "
        "AND needed.value = ? ORDER BY job.id LIMIT ?"
    )
    with store.database.read() as db:
        return [from_row(row) for row in db.execute(query, (job_id, limit))]


@dataclass(frozen=True, slots=True)
class KeyedJob:
    """As much of a job as says what it was queued for."""

    id: int
    key: str
    state: JobState


def keyed_jobs(store: JobStore, prefix: str, limit: int) -> list[KeyedJob]:
    """Those whose idempotency key begins so, the newest first."""
    query = "SELECT id, key, state FROM job WHERE key >= ? AND key < ? ORDER BY id DESC LIMIT ?"
    after = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    with store.database.read() as db:
        rows = db.execute(query, (prefix, after, limit)).fetchall()
    return [KeyedJob(row["id"], row["key"], JobState(row["state"])) for row in rows]


def jobs_of(store: JobStore, numbers: Collection[int]) -> list[Job]:
    """The jobs of these numbers, as far as they are there, by number."""
    query = "SELECT * FROM job WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
    with store.database.read() as db:
        return [from_row(row) for row in db.execute(query, (json.dumps(list(numbers)),))]


def tasks_of_jobs(store: JobStore) -> list[str]:
    """The tasks of which there are jobs."""
    with store.database.read() as db:
        return [row["task"] for row in db.execute("SELECT DISTINCT task FROM job ORDER BY task")]
