"""Jobs as pages show them: state, progress, log, and the actions each allows.

Knows the job table and the files of an attempt. Knows nothing of what a task does.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid_core.config import Config
from camelid_core.events import read_events
from camelid_core.jobs import Job, JobState, JobStore
from camelid_core.jobs.attempt_result import last_lines
from camelid_core.jobs.job import ACTIVE
from camelid_core.jobs.job_needs import possible_needs
from camelid_core.jobs.run_directories import EVENTS, LOG, attempts
from camelid_core.jobs.start_conditions import reasons_to_wait

LOG_BYTES = 64_000
RUNNING = frozenset({JobState.QUEUED, JobState.CLAIMED, JobState.RUNNING, JobState.LOST})
"""States that have not ended: a page that shows such a job keeps polling."""


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
        """Allowed actions: `cancel`, `finish`, `retry`."""
        if self.job.state in ACTIVE:
            return (
                frozenset()
                if self.job.request in ("pause", "cancel")
                else frozenset({"cancel"} | ({"finish"} - {self.job.request}))
            )
        if self.running:
            return frozenset({"cancel"})
        return frozenset() if self.job.state == JobState.SUCCEEDED else frozenset({"retry"})


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
        shown = jobs[:limit]
        waits = reasons_to_wait(self.store, shown)
        return [self._view(job, waits[job.id]) for job in shown]

    def show(self, job_id: int) -> JobView:
        """Raises JobError if there is no such job."""
        return self.view(self.store.get(job_id))

    def count_running(self) -> int:
        return len(self.store.list(states=RUNNING))

    def view(self, job: Job) -> JobView:
        return self._view(job, reasons_to_wait(self.store, [job])[job.id])

    def _view(self, job: Job, waits: str) -> JobView:
        progress = self._progress(job.id)
        return JobView(
            job=job,
            done=int(progress.get("done") or 0),
            total=int(progress.get("total") or 0),
            unit=str(progress.get("unit") or ""),
            eta=progress.get("eta"),
            rate=progress.get("tokens_per_second"),
            waits=waits,
        )

    def _progress(self, job_id: int) -> dict[str, Any]:
        """The newest attempt's last progress event: read from the end of the file, since a listing has many jobs."""
        directory = self.attempt(job_id)
        if directory is None:
            return {}
        for line in reversed(_tail(directory / EVENTS)):
            if line.startswith(_PROGRESS):
                with suppress(ValueError):  # torn by a kill in the middle of a write
                    return dict(json.loads(line))
        return next((event for event in reversed(self.events(job_id)) if event.get("kind") == "progress"), {})

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

    def cancel(self, job_id: int) -> Job:
        return self.store.request(job_id, "cancel")

    def finish(self, job_id: int) -> Job:
        return self.store.request(job_id, "finish")

    def retry(self, job_id: int) -> Job:
        job = self.store.retry(job_id)
        self.wake()
        return job


_PROGRESS = b'{"kind": "progress"'


def _tail(path: Path, size: int = 64_000) -> list[bytes]:
    """The complete lines at the end of a file."""
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - size)
            file.seek(start)
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    return lines[1 if start else 0 : -1]


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
