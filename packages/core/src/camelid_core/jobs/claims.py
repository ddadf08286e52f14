"""Which row of the table a worker takes next: those that are due, in their order, as far as the machine has room.

Knows the queries over waiting and running jobs. Decides nothing about room: `admission` does. Changes nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .admission import Choice, Running, Waiting, assign, assign_anyway, choose
from .job_settings import JobSettings
from .resources import Assignment, Needs, Resources

READY = """NOT EXISTS (
  SELECT 1 FROM json_each(job.depends_on) AS needed LEFT JOIN job AS other ON other.id = needed.value
  WHERE other.state IS NOT 'succeeded')"""
"""Every job that it depends on has succeeded."""

DUE = f"state = 'queued' AND (boot <> :boot OR not_before <= :now) AND earliest <= :wall AND {READY}"
"""Its time has come as well."""

ORDER = "priority DESC, id"
"""The order in which jobs are begun."""

_NOTHING = Assignment(machine="", host="")
"""What a job is given where the machine's resources are not known."""
_ACTIVE = "state IN ('claimed', 'running')"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job is to begin: a machine's resources (None: not known, so there is always room), and the settings that
    limit what runs."""

    machine: Resources | None
    settings: JobSettings


def next_job(db: sqlite3.Connection, now: Mapping[str, Any], place: Place) -> Choice | None:
    """The next job to begin, or the first in line with what it waits for; None where nothing is due here."""
    if all_run_that_may(db, place.settings):
        return None
    queue = waiting(db, now, users_at_their_limit(db, place.settings))
    if place.machine is None:
        first = next(queue, None)
        return None if first is None else Choice(first.id, _NOTHING)
    return choose(queue, place.machine, running_on(db, place.machine.machine))


def given_anyway(db: sqlite3.Connection, job_id: int, place: Place) -> Choice | None:
    """The waiting job of that number, whatever its time and whatever runs; None where there is no such job, or it waits
    for others."""
    row = db.execute(f"SELECT id, needs FROM job WHERE id = ? AND state = 'queued' AND {READY}", (job_id,)).fetchone()  # noqa: S608
    if row is None:
        return None
    machine = place.machine
    if machine is None:
        return Choice(job_id, _NOTHING)
    return Choice(job_id, assign_anyway(_needs(row), machine, running_on(db, machine.machine)))


def waiting(db: sqlite3.Connection, now: Mapping[str, Any], without: frozenset[str] = frozenset()) -> Iterator[Waiting]:
    """The jobs that are due, in their order, without those of some users."""
    query = f"SELECT id, user, needs FROM job WHERE {DUE} ORDER BY {ORDER}"  # noqa: S608 - constants
    return (Waiting(row["id"], _needs(row)) for row in db.execute(query, now) if row["user"] not in without)


def running_on(db: sqlite3.Connection, machine: str) -> Running:
    """What the jobs that run on a machine were given."""
    query = f"SELECT id, assigned FROM job WHERE {_ACTIVE} AND json_extract(assigned, '$.machine') = ?"  # noqa: S608 - a constant
    return {row["id"]: Assignment.from_json(json.loads(row["assigned"])) for row in db.execute(query, (machine,))}


def crowding(db: sqlite3.Connection, job_id: int, needs: Needs | None, machine: Resources) -> str:
    """What a job that begins all the same would wait for, had a person not asked for it; empty where it has room."""
    others = {number: given for number, given in running_on(db, machine.machine).items() if number != job_id}
    given = assign(needs, machine, others)
    return given if isinstance(given, str) else ""


def users_at_their_limit(db: sqlite3.Connection, settings: JobSettings) -> frozenset[str]:
    """Users who run as many jobs as one may."""
    most = settings.per_user.running
    if most is None:
        return frozenset()
    query = f"SELECT user FROM job WHERE {_ACTIVE} GROUP BY user HAVING count(*) >= ?"  # noqa: S608 - a constant
    return frozenset(row["user"] for row in db.execute(query, (most,)))


def all_run_that_may(db: sqlite3.Connection, settings: JobSettings) -> bool:
    """Whether as many jobs run as the settings allow for all together."""
    most = settings.limits.running
    running = f"SELECT count(*) FROM job WHERE {_ACTIVE}"  # noqa: S608 - a constant
    return most is not None and db.execute(running).fetchone()[0] >= most


def _needs(row: sqlite3.Row) -> Needs | None:
    values = json.loads(row["needs"])
    return None if values is None else Needs.from_json(values)
