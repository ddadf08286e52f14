"""What the worker and a detached attempt tell each other: two files in the attempt's directory, and nothing else.

    order.json    the job, written once before the attempt is submitted
    beat.json     rewritten every few seconds by whichever worker watches the attempt, with what people request

A detached attempt runs on a machine of a cluster that sees Camelid's home under the same path. It does not open the
job table, whose locks no network file system keeps, and its clock is another one: while beats change, it holds the job.
Knows files and clocks. Knows nothing of clusters or tasks.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from camelid_core.errors import JobError
from camelid_core.integrity import write_durably
from camelid_core.json_files import object_in

from .clock import Clock
from .job import Job, JobRequest, JobState

_ORDER = "order.json"
_BEAT = "beat.json"
_BEAT_SECONDS = 2.0
PATIENCE_SECONDS = 300.0
"""How long an attempt goes on without beats: a worker that was started anew takes it up again within that time."""

DetachedRequest = Literal["", "finish", "save", "leave"]
"""What an attempt is asked for: nothing; to finish early; to save and exit; to exit as the job is not its own."""

_JOB_REQUESTS: dict[str, JobRequest] = {"": "", "finish": "finish", "save": "cancel"}
_ORDERED = ("id", "task", "config", "name", "epoch")


def detached_mark() -> str:
    """Without the job, since the attempt may outlive its number: another attempt goes on with its process."""
    return secrets.token_hex(16)


def own_version() -> str:
    """The version of camelid-core that runs here."""
    try:
        return version("camelid-core")
    except PackageNotFoundError:
        return "unknown"


@dataclass(frozen=True, slots=True)
class DetachedOrder:
    """`mark` is in the environment of all processes of the attempt; `module` is what `python -m` runs; `patience` are
    the seconds that it goes on without beats."""

    job: Job
    mark: str
    module: str = "camelid_core.jobs.attempt"
    patience: float = PATIENCE_SECONDS
    version: str = ""

    def write(self, directory: Path) -> None:
        job = {name: getattr(self.job, name) for name in _ORDERED}
        values = asdict(replace(self, version=own_version())) | {"job": job}
        write_durably(directory / _ORDER, json.dumps(values).encode(), private=True)

    @classmethod
    def read(cls, directory: Path) -> DetachedOrder:
        """Raises JobError: there is no sound order."""
        values = object_in(directory / _ORDER)
        try:
            return cls(**values | {"job": Job(**values["job"], state=JobState.RUNNING)})
        except (KeyError, TypeError):
            raise JobError(
                f"{str(directory / _ORDER)!r} is not there or is damaged. Machines of the cluster must see Camelid's "
                "home under the same path as the worker."
            ) from None


class Beats:
    """The worker's side: `keep` shows the attempt that somebody watches it."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / _BEAT
        self._request: DetachedRequest = ""
        self._written = float("-inf")

    def keep(self) -> None:
        """Write a beat if the last one is some time ago; a full disk only delays it."""
        if time.monotonic() - self._written >= _BEAT_SECONDS:
            try:
                self._write()
            except OSError:
                return

    def request(self, request: DetachedRequest) -> None:
        self._request = request
        self._write()

    def _write(self) -> None:
        values = {"beat": time.time_ns(), "request": self._request}  # differs from those of an earlier worker
        write_durably(self._path, json.dumps(values).encode(), private=True)
        self._written = time.monotonic()


def last_request(directory: Path) -> DetachedRequest:
    """What the attempt was asked for last; a damaged file asks for nothing."""
    found = object_in(directory / _BEAT).get("request")
    return found if found in ("finish", "save", "leave") else ""


class BeatenLease:
    """The attempt's side: stands for the job table. `get` gives the job with a lease that lasts as long as beats do.

    It ends at once when the process that started the attempt is gone: then the cluster has given it up.
    """

    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self._directory = directory
        order = DetachedOrder.read(directory)
        self._job = replace(order.job, boot=self.clock.boot(), lease_seconds=order.patience)
        self._beat: Any = None
        self._changed = self.clock.now()
        self._parent = os.getppid()

    def get(self, job_id: int) -> Job:
        """The job as the last beat has it.

        Raises:
            JobError: the order is of another job.
        """
        if job_id != self._job.id:
            raise JobError(f"the order in {str(self._directory)!r} is of job {self._job.id}, not of {job_id}.")
        values = object_in(self._directory / _BEAT)
        if values.get("beat") != self._beat:
            self._beat, self._changed = values.get("beat"), self.clock.now()
        if values.get("request") == "leave" or os.getppid() != self._parent:
            return replace(self._job, state=JobState.LOST)
        request = _JOB_REQUESTS.get(str(values.get("request", "")), "")
        return replace(self._job, request=request, lease=self._changed + self._job.lease_seconds)
