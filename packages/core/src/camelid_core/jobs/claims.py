"""Which row of the table a worker takes next: those that are due, in their order, as far as the machine has room.

Knows the queries over waiting and running jobs. Decides nothing about room: `admission` does. Changes nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .admission import Choice, Running, Waiting, assign, assign_anyway, choose
from .groups import CLAIMABLE
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
class Claimant:
    """Who takes a job: a worker by its name, the resources of its machine (None: not known, so there is always room),
    the settings that limit what runs, and where other nodes reach it (empty: it takes part in no group)."""

    worker: str
    machine: Resources | None
    settings: JobSettings
    address: Mapping[str, Any] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, str]:
        """What `CLAIMABLE` asks for."""
        return {"worker": self.worker, "address": json.dumps(dict(self.address))}


def next_job(db: sqlite3.Connection, now: Mapping[str, Any], claimant: Claimant) -> Choice | None:
    """The next job to begin, or the first in line with what it waits for; None where nothing is due here."""
    queue = waiting(db, now, users_at_their_limit(db, claimant.settings), claimant)
    if all_run_that_may(db, claimant.settings):
        queue = (job for job in queue if job.member)
    if claimant.machine is None:
        first = next(queue, None)
        return None if first is None else Choice(first.id, _NOTHING)
    return choose(queue, claimant.machine, running_on(db, claimant.machine.machine))


def given_anyway(db: sqlite3.Connection, job_id: int, claimant: Claimant) -> Choice | None:
    """The waiting job of that number, whatever its time and whatever runs; None where there is no such job, or it waits
    for others."""
    mine = f"(:address = '{{}}' OR {CLAIMABLE})"
    query = f"SELECT id, needs FROM job WHERE id = :id AND state = 'queued' AND {READY} AND {mine}"  # noqa: S608
    row = db.execute(query, {"id": job_id, **claimant.values}).fetchone()
    if row is None:
        return None
    machine = claimant.machine
    if machine is None:
        return Choice(job_id, _NOTHING)
    return Choice(job_id, assign_anyway(_needs(row), machine, running_on(db, machine.machine)))


def waiting(
    db: sqlite3.Connection,
    now: Mapping[str, Any],
    without: frozenset[str] = frozenset(),
    claimant: Claimant | None = None,
) -> Iterator[Waiting]:
    """The jobs that are due, in their order, without those of some users, but for nodes of groups that have begun; of
    groups only those that the claimant, if one is given, can take part in."""
    whose = "1" if claimant is None else CLAIMABLE
    query = f"SELECT id, user, leader, needs FROM job WHERE {DUE} AND {whose} ORDER BY {ORDER}"  # noqa: S608 - constants
    rows = db.execute(query, {**now, **(claimant.values if claimant else {})})
    return (
        Waiting(row["id"], _needs(row), bool(row["leader"]))
        for row in rows
        if row["leader"] or row["user"] not in without
    )


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
    query = f"SELECT user FROM job WHERE {_ACTIVE} AND leader = 0 GROUP BY user HAVING count(*) >= ?"  # noqa: S608 - a constant
    return frozenset(row["user"] for row in db.execute(query, (most,)))


def all_run_that_may(db: sqlite3.Connection, settings: JobSettings) -> bool:
    """Whether as many jobs run as the settings allow for all together."""
    most = settings.limits.running
    running = f"SELECT count(*) FROM job WHERE {_ACTIVE} AND leader = 0"  # noqa: S608 - a constant
    return most is not None and db.execute(running).fetchone()[0] >= most


def _needs(row: sqlite3.Row) -> Needs | None:
    values = json.loads(row["needs"])
    return None if values is None else Needs.from_json(values)
