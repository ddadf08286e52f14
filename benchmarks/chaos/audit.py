"""What must hold whatever was killed: an audit inside the table's own transactions, and a look at what is left.

Knows the rules of the job table, and judges by triggers, files outside the home directory and the disk, not by what the
product says of itself. Knows nothing of what went wrong.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
from camelid_core.jobs.clock import Clock
from camelid_core.jobs.job import TRANSITIONS, Job, JobState
from camelid_core.jobs.process_identity import ATTEMPT_VARIABLE
from camelid_core.jobs.store import JobStore
from parts import notes

_NOW = "(julianday('now') - 2440587.5) * 86400.0"
_READY = f"""NOT EXISTS (SELECT 1 FROM json_each(other.depends_on) AS needed
  LEFT JOIN job AS third ON third.id = needed.value WHERE third.state IS NOT 'succeeded')
  AND other.earliest <= {_NOW} AND other.not_before < {_NOW} - BOOTED"""
"""A failed attempt's job waits a while in the queue before its next one. BOOTED is the time at which the clock of
`not_before` stood at zero."""
_AHEAD = "(other.priority > NEW.priority OR (other.priority = NEW.priority AND other.id < NEW.id))"
_OVERTAKEN = f"""(other.priority = NEW.priority AND other.id < NEW.id
  AND (SELECT max(at) FROM audit WHERE job = other.id) < {_NOW} - 5.0)"""
"""The door looks which jobs a machine can run before it claims one: a job may come in between."""
_TRIGGERS = f"""
CREATE TABLE IF NOT EXISTS audit (
  seq INTEGER PRIMARY KEY, at REAL, job INTEGER, epoch INTEGER, epoch_was INTEGER, was TEXT, now TEXT, owner TEXT,
  ahead INTEGER);
CREATE INDEX IF NOT EXISTS audit_by_job ON audit (job);
CREATE TRIGGER IF NOT EXISTS audit_submitted AFTER INSERT ON job BEGIN
  INSERT INTO audit (at, job, epoch, epoch_was, was, now) VALUES ({_NOW}, NEW.id, NEW.epoch, 0, '', NEW.state);
END;
CREATE TRIGGER IF NOT EXISTS audit_moved AFTER UPDATE ON job
WHEN OLD.state <> NEW.state OR OLD.epoch <> NEW.epoch BEGIN
  INSERT INTO audit (at, job, epoch, epoch_was, was, now, owner, ahead)
  VALUES ({_NOW}, NEW.id, NEW.epoch, OLD.epoch, OLD.state, NEW.state, NEW.owner,
    CASE NEW.state WHEN 'claimed' THEN (SELECT count(*) FROM job AS other WHERE other.state = 'queued'
      AND CASE WHEN NEW.owner LIKE 'agent:%' THEN {_OVERTAKEN} ELSE {_AHEAD} END AND {_READY}) END);
END;
"""


_CLOCKS_APART = 0.5
"""Seconds that the two clocks may differ by."""


def install(database: Path) -> None:
    """Every change of a state is written down by the transaction that makes it."""
    booted = time.time() - Clock().now() + _CLOCKS_APART
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.executescript(f"BEGIN IMMEDIATE; {_TRIGGERS.replace('BOOTED', str(booted))} COMMIT;")


def moves(database: Path, after: int = 0) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(database, timeout=60)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute("SELECT * FROM audit WHERE seq > ? ORDER BY seq", (after,))]


def broken_moves(found: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Rules that hold for each change of a state by itself."""
    for move in found:
        what = f"job {move['job']}, attempt {move['epoch']}: {move['was'] or 'nothing'} became {move['now']}"
        if move["was"] and JobState(move["now"]) not in TRANSITIONS[JobState(move["was"])]:
            yield f"{what}, which is not allowed"
        if move["epoch"] != move["epoch_was"] + (move["now"] == "claimed"):
            yield f"{what}, and its attempt before was {move['epoch_was']}"
        if move["ahead"]:
            yield f"{what} before {move['ahead']} that were its turn"


def broken_in_the_end(store: JobStore, outside: Path, home: Path) -> Iterator[str]:
    """Rules that hold once everything was worked off and all workers have left."""
    found = moves(store.path)
    jobs = {job.id: job for job in store.list(limit=1_000_000)}
    deleted = {each["job"]: each["state"] for each in notes(outside / "deleted.jsonl")}
    yield from _twice(found, outside)
    for each in notes(outside / "acknowledged.jsonl"):
        if each["job"] not in jobs and each["job"] not in deleted:
            yield f"job {each['job']} (number {each['number']}) was acknowledged and is lost"
    submitted = {move["job"] for move in found if not move["was"]}
    ended = Counter([*deleted.values(), *(str(job.state) for job in jobs.values())])
    if len(submitted) != ended["succeeded"] + ended["failed"] + ended["cancelled"]:
        yield f"{len(submitted)} were submitted, and they ended as {dict(ended)}"
    yield from _artefacts(jobs, home)
    with closing(sqlite3.connect(store.path)) as db:
        verdict = db.execute("PRAGMA quick_check").fetchone()[0]
    if verdict != "ok":
        yield f"the table is damaged: {verdict}"
    for process in left_running(home.parent):
        yield f"process {process.pid} of an attempt is left: {process.cmdline()}"


def _twice(found: Iterable[dict[str, Any]], outside: Path) -> Iterator[str]:
    succeeded = Counter(move["job"] for move in found if move["now"] == "succeeded")
    yield from (f"job {job} succeeded {times} times" for job, times in succeeded.items() if times > 1)
    places: dict[int, set[tuple[str, int]]] = defaultdict(set)
    for each in notes(outside / "placed.jsonl"):
        places[each["job"]].add((each["path"], each["inode"]))
    yield from (f"job {job} was published at {sorted(where)}" for job, where in places.items() if len(where) > 1)


def _artefacts(jobs: dict[int, Job], home: Path) -> Iterator[str]:
    """Each name is a job's key, so that a second publication would have another name or no job."""
    published = {Path(job.published).name: job for job in jobs.values() if job.state == JobState.SUCCEEDED}
    for path in (home / "artefacts").iterdir() if (home / "artefacts").exists() else ():
        job = published.pop(path.name, None)
        if job is None:
            yield f"{path.name} is published and belongs to no job that succeeded"
        elif fault := wrong_artefact(job):
            yield fault
    for name, job in published.items():
        if name and job.published:
            yield f"{name}, the result of job {job.id}, is gone"


def wrong_artefact(job: Job) -> str:
    """What is wrong with the result of a job that succeeded; empty where nothing is."""
    try:
        spec = json.loads((Path(job.published) / "stub.json").read_text(encoding="utf-8"))
        right = (spec["key"], spec["job"], spec["epoch"] <= job.epoch) == (job.key, job.id, True)
    except (OSError, ValueError, KeyError) as error:
        return f"the result of job {job.id} cannot be read: {error}"
    return "" if right and Path(job.published).name == job.key else f"the result of job {job.id} is {spec}"


def left_running(top: Path) -> list[psutil.Process]:
    """Processes of attempts of all home directories below, zombies aside."""
    left = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.Error, OSError):
            continue
        mine = environment.get(ATTEMPT_VARIABLE) and environment.get("CAMELID_HOME", "").startswith(f"{top}/")
        if mine and process.pid != os.getpid():
            left.append(process)
    return left


def seconds_between(found: Iterable[dict[str, Any]], was: str, now: str) -> list[float]:
    """How long after it became `was` a job became `now`, of all jobs that did so at once, in order."""
    since: dict[int, float] = {}
    took = []
    for move in found:
        if move["now"] == now and move["was"] == was and move["job"] in since:
            took.append(move["at"] - since[move["job"]])
        since[move["job"]] = move["at"]
    return sorted(took)
