"""Jobs as rows of the database: the schema, the two statements that write one, and both conversions.

Knows columns. Knows nothing of which transition is allowed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from .job import Job, JobState
from .resources import Assignment, Needs

_MACHINES = """
CREATE TABLE machine (
  name TEXT PRIMARY KEY, token TEXT NOT NULL, created REAL NOT NULL, seen REAL NOT NULL DEFAULT 0,
  revoked REAL NOT NULL DEFAULT 0, description TEXT NOT NULL DEFAULT '{}'
) STRICT
"""
_OUTBOX = """
CREATE TABLE job_listener (
  job INTEGER NOT NULL, url TEXT NOT NULL, own_network INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (job, url)
) STRICT;
CREATE TABLE job_end (
  job INTEGER NOT NULL, epoch INTEGER NOT NULL, url TEXT NOT NULL DEFAULT '', own_network INTEGER NOT NULL DEFAULT 0,
  tries INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0, PRIMARY KEY (job, epoch, url)
) STRICT;
CREATE TRIGGER job_ended AFTER UPDATE OF state ON job
WHEN NEW.leader = 0 AND OLD.state <> NEW.state
  AND (NEW.state IN ('succeeded', 'failed') OR (NEW.state = 'paused' AND OLD.state IN ('claimed', 'running', 'lost')))
BEGIN INSERT OR IGNORE INTO job_end (job, epoch) VALUES (NEW.id, NEW.epoch); END;
CREATE TRIGGER job_deleted AFTER DELETE ON job
BEGIN DELETE FROM job_listener WHERE job = OLD.id; DELETE FROM job_end WHERE job = OLD.id; END
"""
"""Ends of jobs that are still to be announced, and who is told of one job alone."""
VERSION = 6
MIGRATIONS = {
    1: """
ALTER TABLE job ADD COLUMN depends_on TEXT NOT NULL DEFAULT '[]';
ALTER TABLE job ADD COLUMN earliest REAL NOT NULL DEFAULT 0
""",
    2: """
ALTER TABLE job ADD COLUMN user TEXT NOT NULL DEFAULT '';
ALTER TABLE job ADD COLUMN needs TEXT NOT NULL DEFAULT 'null';
ALTER TABLE job ADD COLUMN assigned TEXT NOT NULL DEFAULT 'null';
ALTER TABLE worker ADD COLUMN resources TEXT NOT NULL DEFAULT 'null'
""",
    3: _MACHINES,
    4: """
ALTER TABLE job ADD COLUMN nodes INTEGER NOT NULL DEFAULT 1;
ALTER TABLE job ADD COLUMN leader INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN address TEXT NOT NULL DEFAULT '{}';
CREATE INDEX job_by_leader ON job (leader) WHERE leader <> 0
""",
    5: _OUTBOX,
}
"""What makes of a schema of some version the next one."""

SCHEMA = f"""
CREATE TABLE job (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  task TEXT NOT NULL, config TEXT NOT NULL, name TEXT NOT NULL, key TEXT UNIQUE, priority INTEGER NOT NULL,
  state TEXT NOT NULL, epoch INTEGER NOT NULL, request TEXT NOT NULL, owner TEXT NOT NULL, process TEXT NOT NULL,
  boot TEXT NOT NULL, lease REAL NOT NULL, lease_seconds REAL NOT NULL, not_before REAL NOT NULL,
  retries INTEGER NOT NULL, error TEXT NOT NULL, error_kind TEXT NOT NULL, summary TEXT NOT NULL,
  published TEXT NOT NULL, created REAL NOT NULL, started REAL, ended REAL,
  depends_on TEXT NOT NULL DEFAULT '[]', earliest REAL NOT NULL DEFAULT 0,
  user TEXT NOT NULL DEFAULT '', needs TEXT NOT NULL DEFAULT 'null', assigned TEXT NOT NULL DEFAULT 'null',
  nodes INTEGER NOT NULL DEFAULT 1, leader INTEGER NOT NULL DEFAULT 0, rank INTEGER NOT NULL DEFAULT 0,
  address TEXT NOT NULL DEFAULT '{{}}'
) STRICT;
CREATE INDEX job_by_state ON job (state, priority DESC, id);
CREATE INDEX job_by_leader ON job (leader) WHERE leader <> 0;
CREATE TABLE worker (
  name TEXT PRIMARY KEY, pid INTEGER NOT NULL, boot TEXT NOT NULL, until REAL NOT NULL,
  resources TEXT NOT NULL DEFAULT 'null'
) STRICT;
{_MACHINES};
{_OUTBOX}"""

_COLUMNS = [field.name for field in fields(Job) if field.name != "id"]
_IMMUTABLE = {"task", "config", "name", "key", "created", "depends_on", "user", "nodes", "leader", "rank"}
_JSON_COLUMNS = {"config", "summary", "depends_on", "needs", "assigned", "address"}

INSERT = (
    f"INSERT INTO job (id, {', '.join(_COLUMNS)}) "  # noqa: S608 - the dataclass's own field names
    f"VALUES (:id, {', '.join(':' + name for name in _COLUMNS)}) RETURNING *"
)
UPDATE = (
    f"UPDATE job SET {', '.join(f'{name} = :{name}' for name in _COLUMNS if name not in _IMMUTABLE)} "  # noqa: S608
    "WHERE id = :id AND state = :was AND epoch = :at RETURNING *"
)


def to_values(job: Job) -> dict[str, Any]:
    values = {field.name: getattr(job, field.name) for field in fields(Job)}
    values |= {name: None if values[name] is None else values[name].to_json() for name in ("needs", "assigned")}
    return values | {name: json.dumps(values[name]) for name in _JSON_COLUMNS} | {"state": str(job.state)}


def from_row(row: sqlite3.Row | Mapping[str, Any]) -> Job:
    values = dict(row)
    values |= {name: json.loads(values[name]) for name in _JSON_COLUMNS}
    values |= {"state": JobState(values["state"]), "depends_on": tuple(values["depends_on"])}
    values["needs"] = None if values["needs"] is None else Needs.from_json(values["needs"])
    values["assigned"] = None if values["assigned"] is None else Assignment.from_json(values["assigned"])
    return Job(**values)
