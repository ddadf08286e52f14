"""Jobs as pages show them: state, progress, log, and the actions each allows.

Knows the job table and the files of an attempt. Knows nothing of what a task does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISREG
from typing import Any

from camelid_core.config import Config
from camelid_core.errors import JobError
from camelid_core.events import read_events
from camelid_core.jobs import Job, JobState, JobStore
from camelid_core.jobs.attempt_result import last_lines
from camelid_core.jobs.job import ACTIVE, ENDED
from camelid_core.jobs.job_needs import possible_needs
from camelid_core.jobs.progress import progress_of
from camelid_core.jobs.queue_order import move
from camelid_core.jobs.run_directories import EVENTS, LOG, attempts
from camelid_core.jobs.search import JobFilter, Order, count_jobs, find_jobs, jobs_that_need, tasks_of_jobs
from camelid_core.jobs.start_conditions import reasons_to_wait

LOG_BYTES = 64_000
RUNNING = frozenset({JobState.QUEUED, JobState.CLAIMED, JobState.RUNNING, JobState.LOST})
"""States that have not ended: a page that shows such a job keeps polling."""
WAITING = frozenset({JobState.QUEUED, JobState.LOST})
"""States of jobs that have a place in the queue."""
FILTERS: Mapping[str, frozenset[JobState]] = {
    "running": ACTIVE,
    "queued": WAITING,
    "succeeded": frozenset({JobState.SUCCEEDED}),
    "failed": frozenset({JobState.FAILED}),
    "cancelled": frozenset({JobState.CANCELLED}),
    "paused": frozenset({JobState.PAUSED}),
}
"""Filters of the list of jobs, and the states each means."""
_PARTS: tuple[tuple[frozenset[JobState], Order], ...] = ((ACTIVE, "begin"), (WAITING, "begin"), (ENDED, "end"))
_MANY = 200
_MOST_FILES = 50
_REQUEST_ACTIONS: Mapping[str, frozenset[str]] = {
    "": frozenset({"cancel", "pause", "finish"}),
    "finish": frozenset({"cancel", "pause"}),
    "pause": frozenset({"cancel"}),
    "cancel": frozenset(),
}
"""What can still be requested of a running job, by what was requested of it."""


@dataclass(frozen=True, slots=True)
class JobView:
    """A job with the last progress of its newest attempt. `eta` is in seconds, `rate` in tokens per second, and `waits`
    what a queued job waits for besides a worker."""

    job: Job
    done: int = 0
    total: int = 0
    unit: str = ""
    eta: float | None = None
    rate: float | None = None
    waits: str = ""

    @property
    def running(self) -> bool:
        return self.job.state in RUNNING

    @property
    def share(self) -> float:
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def age(self) -> float:
        return max(0.0, time.time() - self.job.created)

    @property
    def seconds(self) -> float:
        """How long it has run, or ran."""
        return max(0.0, (self.job.ended or time.time()) - self.job.started) if self.job.started else 0.0

    @property
    def allowed_actions(self) -> frozenset[str]:
        """Allowed actions: `cancel`, `pause`, `finish`, `move`, `retry`; none of a further node."""
        if self.job.leader:
            return frozenset()
        if self.job.state in ACTIVE:
            return _REQUEST_ACTIONS[self.job.request]
        if self.running:
            return frozenset({"cancel", "pause", "move"})
        return frozenset() if self.job.state == JobState.SUCCEEDED else frozenset({"retry"})


@dataclass(frozen=True, slots=True)
class ListingPart:
    """The first jobs of a kind, and how many of it there are."""

    views: tuple[JobView, ...] = ()
    total: int = 0


@dataclass(frozen=True, slots=True)
class JobListing:
    """Jobs as they go: those that run, those that wait in the order in which they are begun, and those that have
    ended, the newest end first."""

    running: ListingPart
    waiting: ListingPart
    ended: ListingPart

    @property
    def total(self) -> int:
        return self.running.total + self.waiting.total + self.ended.total


@dataclass(frozen=True, slots=True)
class LogPart:
    """Part of a log: `text` is from byte `start` to byte `end` of the log of an attempt, 0 where there is none yet.
    `ended` says that nothing more will come."""

    attempt: int
    start: int
    end: int
    text: str
    ended: bool


class JobService:
    """Submits and shows jobs. `wake` makes sure that a worker runs."""

    def __init__(self, store: JobStore, wake: Callable[[], object]) -> None:
        self.store = store
        self.wake = wake
        self._events = _EventCache()

    @property
    def home(self) -> Path:
        return self.store.path.parent

    def submit(self, task: str, config: Config | Mapping[str, Any], name: str = "", key: str | None = None) -> Job:
        """Queue a job and make sure that a worker runs; the same `key` gives the same job."""
        values = config.model_dump(mode="json") if isinstance(config, Config) else config
        job = self.store.submit(task, values, name, key=key, needs=possible_needs(self.store, task, values))
        self.wake()
        return job

    def all(self, task: str = "", limit: int = 50) -> list[JobView]:
        """The newest first; only those of `task` where one is given."""
        jobs = [job for job in self.store.list(limit=1000 if task else limit) if not task or job.task == task]
        return self.views(jobs[:limit])

    def show(self, job_id: int) -> JobView:
        """Raises JobError if there is no such job."""
        return self.view(self.store.get(job_id))

    def count_running(self) -> int:
        return count_jobs(self.store, JobFilter(RUNNING))

    def view(self, job: Job) -> JobView:
        return self.views([job])[0]

    def views(self, jobs: Sequence[Job]) -> list[JobView]:
        """One look at the queue for all of them."""
        waits = reasons_to_wait(self.store, jobs)
        return [self._view(job, waits[job.id]) for job in jobs]

    def _view(self, job: Job, waits: str) -> JobView:
        found = progress_of(self.home, job.id)
        return JobView(job, found.done, found.total, found.unit, found.eta, found.rate, waits)

    def queue(self, wanted: JobFilter, most: int = 50) -> JobListing:
        """Jobs as they go, as far as they are wanted: at most so many of each kind, and how many there are."""
        parts = []
        for states, order in _PARTS:
            chosen = states & frozenset(wanted.states) if wanted.states else states
            part = replace(wanted, states=chosen)
            found = find_jobs(self.store, part, most, order) if chosen else []
            total = len(found) if len(found) < most else count_jobs(self.store, part)
            parts.append(ListingPart(tuple(self.views(found)), total))
        return JobListing(*parts)

    def ended_since(self, since: float, most: int = _MANY) -> list[JobView]:
        """Jobs that ended after a Unix time: those that failed first, then the newest end first."""
        late = find_jobs(self.store, JobFilter(ENDED, ended_after=since), most, "end")
        return self.views(sorted(late, key=lambda job: job.state != JobState.FAILED))

    def tasks(self) -> list[str]:
        """The tasks of which there are jobs."""
        return tasks_of_jobs(self.store)

    def related(self, job: Job) -> tuple[list[Job], list[Job]]:
        """The jobs that this one needs, as far as they are there, and those that need it."""
        needed = []
        for number in job.depends_on:
            with suppress(JobError):  # it was deleted
                needed.append(self.store.get(number))
        return needed, jobs_that_need(self.store, job.id, _MANY)

    def nodes(self, job: Job) -> list[Job]:
        """The other nodes of a run on several: each has a log of its own."""
        return [node for node in self.store.nodes(job) if node.id != job.id]

    def files(self, job: Job) -> list[tuple[str, int]]:
        """The largest files of what the job published, with their sizes in bytes."""
        result = Path(job.published) if job.published else None
        if result is None or not result.is_dir():
            return []
        found = [(path, path.lstat()) for path in result.iterdir()]
        sizes = [(path.name, stat.st_size) for path, stat in found if S_ISREG(stat.st_mode)]
        return sorted(sizes, key=lambda each: -each[1])[:_MOST_FILES]

    def events(self, job_id: int) -> list[dict[str, Any]]:
        """Events of the newest attempt."""
        directory = self.attempt(job_id)
        return self._events.read(directory / EVENTS) if directory else []

    def attempt(self, job_id: int) -> Path | None:
        """The newest attempt's directory."""
        return next(iter(attempts(self.home, job_id)), None)

    def log(self, job_id: int, lines: int = 400) -> str:
        """The end of the newest attempt's log, at most 64 KB."""
        directory = self.attempt(job_id)
        return last_lines(directory / LOG, lines, LOG_BYTES) if directory else ""

    def log_part(self, job_id: int, attempt: int, start: int) -> LogPart:
        """The newest attempt's log from byte `start` on, at most 64 KB, in whole characters. Where `attempt` is not
        that attempt, its end.

        Raises:
            JobError: there is no such job.
        """
        ended = self.store.get(job_id).state in ENDED  # read first: what is logged until then is in the file
        directory = self.attempt(job_id)
        if directory is None:
            return LogPart(0, 0, 0, "", ended)
        newest, path = int(directory.name), directory / LOG
        size = path.stat().st_size if path.exists() else 0
        known = newest == attempt and 0 <= start <= size
        first = start if known else max(0, size - LOG_BYTES)
        data = _whole_characters(path, first) if size else b""
        if first and not known:  # begin with a line
            cut = data.find(b"\n") + 1
            first, data = first + cut, data[cut:]
        text, end = data.decode("utf-8", errors="replace"), first + len(data)
        return LogPart(newest, first, end, text, ended and end >= size)

    def cancel(self, job_id: int) -> Job:
        return self.store.request(job_id, "cancel")

    def pause(self, job_id: int) -> Job:
        return self.store.request(job_id, "pause")

    def finish(self, job_id: int) -> Job:
        return self.store.request(job_id, "finish")

    def move(self, job_id: int, places: float) -> Job:
        """Move a waiting job by so many places; negative ones are earlier."""
        return move(self.store, job_id, places)

    def retry(self, job_id: int) -> Job:
        job = self.store.retry(job_id)
        self.wake()
        return job


def _whole_characters(path: Path, start: int) -> bytes:
    """At most `LOG_BYTES` from byte `start` on, without a UTF-8 character that is cut off at the end."""
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(LOG_BYTES)
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte < 0x80:
            break
        if byte >= 0xC0:  # the first byte of a character of 2, 3 or 4
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if back < length else data
    return data


class _EventCache:
    """Events read so far, by file: a page that polls reads only what is new."""

    def __init__(self, files: int = 256) -> None:
        self._read: dict[Path, tuple[list[dict[str, Any]], int]] = {}
        self._files = files
        self._lock = threading.Lock()

    def read(self, path: Path) -> list[dict[str, Any]]:
        with self._lock:
            known, offset = self._read.pop(path, ([], 0))
            new, offset = read_events(path, offset)
            known = known + new if new else known
            self._read[path] = (known, offset)
            while len(self._read) > self._files:
                self._read.pop(next(iter(self._read)))
            return known
