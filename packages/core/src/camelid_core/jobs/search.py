"""Finding jobs by state, task and words, the newest first.

Knows columns. Knows nothing of how a listing looks.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from .job import Job, JobState
from .job_rows import from_row
from .store import JobStore

_FOUND = """
  state IN (SELECT value FROM json_each(:states)) AND (:task = '' OR task = :task)
  AND (:text = '' OR id = :number OR name LIKE :pattern ESCAPE '\\' OR task LIKE :pattern ESCAPE '\\'
       OR error LIKE :pattern ESCAPE '\\')"""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """What to look for; empty fields let everything through. `text` is a job's number, or part of its name, task or
    error, in any case."""

    states: Collection[JobState] = ()
    task: str = ""
    text: str = ""


def find_jobs(store: JobStore, wanted: JobFilter, limit: int) -> list[Job]:
    """At most `limit` jobs, the newest first."""
    text = wanted.text.strip()
    escaped = text.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
    values = {
        "states": json.dumps([str(state) for state in wanted.states or JobState]),
        "task": wanted.task,
        "text": text,
        "number": int(text) if text.isdecimal() and len(text) < 18 else -1,
        "pattern": f"%{escaped}%",
        "limit": limit,
    }
    query = f"SELECT * FROM job WHERE {_FOUND} ORDER BY id DESC LIMIT :limit"  # noqa: S608 - a constant
    with store.database.read() as db:
        return [from_row(row) for row in db.execute(query, values)]


def tasks_of_jobs(store: JobStore) -> list[str]:
    """The tasks of which there are jobs."""
    with store.database.read() as db:
        return [row["task"] for row in db.execute("SELECT DISTINCT task FROM job ORDER BY task")]
