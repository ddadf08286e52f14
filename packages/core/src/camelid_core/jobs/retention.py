"""Which ended jobs may go, and deleting them with their logs and checkpoints; what they published stays.

What a person may still want stays as well, unless it is asked for: a paused job, and a result that was made and not yet
published. What other jobs need stays in any case. Knows rows and directories. Knows nothing of commands.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from camelid_core.errors import JobError

from .attempt_result import AttemptResult, Outcome
from .deletion import delete, strings_in
from .job import ENDED, Job, JobState
from .job_settings import job_settings
from .run_directories import attempt_directory, attempts
from .store import JobStore

_UNITS = {"h": 3600.0, "d": 86400.0}
_ALL = 1_000_000_000
_AUTOMATIC_SECONDS = 3600.0
"""A worker looks so often, at most."""


@dataclass(frozen=True, slots=True)
class Prunable:
    """A job that may be deleted, and the bytes on disk that this frees."""

    job: Job
    size: int


@dataclass(frozen=True, slots=True)
class Retained:
    """Which ended jobs stay: those that ended less than `seconds` ago, the `keep_last` newest, and, unless they are
    asked for, those that are paused or have a result that was not published."""

    seconds: float | None = None
    keep_last: int | None = None
    paused: bool = True
    unpublished: bool = True


def seconds_of(age: str) -> float:
    """The seconds that an age means: 30d, or 12h."""
    return int(age[:-1]) * _UNITS[age[-1]]


def prunable(store: JobStore, retained: Retained) -> list[Prunable]:
    """The jobs that may be deleted, the oldest first."""
    ended = store.list(ENDED, limit=_ALL)
    ended.sort(key=lambda job: (job.ended or 0.0, job.id), reverse=True)
    before = store.clock.wall() - (retained.seconds or 0.0)
    old = [job for job in ended[retained.keep_last or 0 :] if (job.ended or 0.0) <= before]
    needed, home = _needed_jobs(store), store.path.parent
    names = _names_in_unended(store) if old else ""
    return [
        Prunable(job, _size(_directory(home, job)))
        for job in reversed(old)
        if job.id not in needed
        and not (retained.paused and job.state == JobState.PAUSED)
        and not (retained.unpublished and _has_unpublished_result(home, job))
        and str(_directory(home, job)) not in names
    ]


def prune(store: JobStore, found: Sequence[Prunable]) -> list[Prunable]:
    """Delete these jobs; those that were retried or needed meanwhile stay. Returns what was deleted."""
    return [each for each in found if _deleted(store, each.job)]


class IdleRetention:
    """Deletes what the settings say while a worker has nothing to do. Without settings nothing is ever deleted."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._looked = float("-inf")

    def __call__(self) -> list[Prunable]:
        now, settings = time.monotonic(), job_settings(self._store.path.parent).retention
        age, last = settings.older_than, settings.keep_last
        if now - self._looked < _AUTOMATIC_SECONDS or (age is None and last is None):
            return []
        self._looked = now
        retained = Retained(seconds_of(age) if age else None, last)
        return prune(self._store, prunable(self._store, retained))


def _deleted(store: JobStore, job: Job) -> bool:
    with suppress(JobError):
        delete(store, job.id)
        return True
    return False


def _directory(home: Path, job: Job) -> Path:
    return attempt_directory(home, job.id, 1).parent


def _needed_jobs(store: JobStore) -> set[int]:
    """Jobs that others depend on which have not succeeded: they may wait, or be retried."""
    query = "SELECT DISTINCT needed.value FROM job, json_each(job.depends_on) AS needed WHERE job.state <> 'succeeded'"
    with store.database.read() as db:
        return {row[0] for row in db.execute(query)}


def _names_in_unended(store: JobStore) -> str:
    """All that the configurations of jobs that have not ended, or are paused, name: a checkpoint may be among it."""
    states = [state for state in JobState if state not in ENDED] + [JobState.PAUSED]
    return json.dumps([list(strings_in(job.config)) for job in store.list(states, limit=_ALL)], ensure_ascii=False)


def _has_unpublished_result(home: Path, job: Job) -> bool:
    if job.state == JobState.SUCCEEDED:
        return False
    results = (AttemptResult.read(directory) for directory in attempts(home, job.id))
    return any(result is not None and result.how == Outcome.SUCCEEDED for result in results)


def _size(directory: Path) -> int:
    return sum(_blocks(path) for path in _files(directory))


def _files(directory: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from directory.rglob("*")


def _blocks(path: Path) -> int:
    with suppress(OSError):
        return path.lstat().st_blocks * 512
    return 0
