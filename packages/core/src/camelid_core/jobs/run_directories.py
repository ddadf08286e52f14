"""The layout of the directories of a job's attempts: `runs/<job>/<epoch>/`.

Knows names. Knows nothing of what the files hold.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

JOBS_DATABASE = "jobs.sqlite3"
EVENTS = "events.jsonl"
LOG = "log.txt"
OUTPUT = "output"
RESULT = "result.json"
PLACEMENT = "placed.json"
_RECORDS = (EVENTS, LOG, RESULT, "process.json")
_DIGITS = 12
"""A longer name is no job's number, and may be more than a table can hold."""


def attempt_directory(home: Path, job_id: int, epoch: int) -> Path:
    return home / "runs" / f"{job_id:06d}" / str(epoch)


def highest_job_number(home: Path) -> int:
    """The highest number of a job that has a directory, 0 if there is none."""
    try:
        names = [path.name for path in (home / "runs").iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return max((int(name) for name in names if name.isdecimal() and len(name) <= _DIGITS), default=0)


def home_of(attempt: Path) -> Path:
    return attempt.parents[2]


def attempts(home: Path, job_id: int) -> list[Path]:
    """The directories of all attempts so far, the newest first."""
    try:
        found = [path for path in (home / "runs" / f"{job_id:06d}").iterdir() if path.name.isdecimal()]
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def earlier_attempts(attempt: Path) -> tuple[Path, ...]:
    """The directories of attempts before this one at the same job, the newest first."""
    found = attempts(home_of(attempt), int(attempt.parent.name))
    return tuple(path for path in found if int(path.name) < int(attempt.name))


def keep_records(attempt: Path) -> None:
    """Delete all that an attempt left but what tells of it: node 0 of a group keeps results and checkpoints for all."""
    for folder, _, names in os.walk(attempt, topdown=False):
        for name in names:
            if name not in _RECORDS:
                (Path(folder) / name).unlink(missing_ok=True)
        with suppress(OSError):  # it is not empty
            Path(folder).rmdir()
