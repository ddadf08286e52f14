"""The home of one job of a server on this machine: what it reads under the names it has there, its row, its attempts.

    <home>/joined/<server>/contents/        what jobs read, by content
                           cache/           tokenised rows, shared by the jobs
                           <job>/           a home like any other: jobs.sqlite3, models/, artefacts/, data/, runs/
                                 inputs/    what lies outside the server's home

Knows directories. Knows nothing of networks: what is missing, the caller fetches.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from camelid_core import staging
from camelid_core.errors import JobError
from camelid_core.file_permissions import make_private_directory, open_private
from camelid_core.integrity import write_durably
from camelid_core.jobs.executors import LocalExecutor
from camelid_core.jobs.job import Job
from camelid_core.jobs.run_directories import JOBS_DATABASE, attempt_directory, attempts
from camelid_core.jobs.store import JobStore
from camelid_core.tasks import Task

from .attempt_files import is_kept
from .path_translation import PathTranslation
from .protocol import FileContent, JobInputs
from .wire_paths import path_below

JOINED = "joined"
_TREES = ("models", "artefacts", "data", "inputs")
_TRANSLATED = ("camelid.json", "adapter_config.json")
"""Files of models and artefacts in which paths stand."""
_LOCK = ".lock"
_KEPT_SECONDS = 7 * 86400
Fetch = Callable[[FileContent, list[Path]], Path]
"""The file with a content, perhaps one of some that are here."""


class JobHome:
    """`directory` is the home of `job`; `machine_home` is this machine's, whose models need not be fetched."""

    def __init__(self, server: Path, job: Job, inputs: JobInputs, machine_home: Path) -> None:
        self.directory, self._lock = _lock_directory(server, job, machine_home)
        self.attempt = attempt_directory(self.directory, job.id, job.epoch)
        self._job = job
        self._inputs = inputs
        self._machine_home = machine_home
        pairs = [(inputs.home, self.directory)]
        pairs += [(tree.source, path_below(self.directory, tree.place)) for tree in inputs.trees]
        self.paths = PathTranslation(pairs)

    @contextmanager
    def prepared(self, fetch: Fetch) -> Iterator[None]:
        """While entered, all that the job reads is here. No other agent uses this home before the end.

        Raises:
            CamelidError: as `fetch` does, or a path that leads elsewhere.
        """
        with self._lock:
            for earlier in attempts(self.directory, self._job.id):
                LocalExecutor().kill_leftovers(earlier)  # of an agent that was killed here
            cache = make_private_directory(self.directory.parent / "cache", self._machine_home)
            with suppress(FileExistsError):
                (self.directory / "cache").symlink_to(cache)
            self._place_trees(fetch)
            self._place_earlier(fetch)
            yield

    def store(self, task: Task) -> JobStore:
        """A table with this job alone, queued for its attempt, its paths as they are here."""
        config = self.paths.here(dict(self._job.config))
        _blank(config, task.output)
        store = JobStore(self.directory / JOBS_DATABASE)
        store.adopt(
            replace(self._job, config=config, nodes=1, leader=0, rank=0, address={})
        )  # its group is the server's
        return store

    def gone(self) -> list[str]:
        """What the task deleted of earlier attempts, as `EPOCH/path`."""
        return [
            f"{epoch}/{name}"
            for epoch, listing in self._inputs.earlier.items()
            for name in listing
            if is_kept(name) and not (self._attempt(epoch) / name).exists()
        ]

    def remove(self) -> None:
        with suppress(FileNotFoundError), staging.set_aside(self.directory):
            pass

    def _attempt(self, epoch: int) -> Path:
        return attempt_directory(self.directory, self._job.id, epoch)

    def _place_trees(self, fetch: Fetch) -> None:
        for name in _TREES:  # of another attempt, when other things may have had these names
            with suppress(FileNotFoundError), staging.set_aside(self.directory / name):
                pass
        for tree in self._inputs.trees:
            top = path_below(self.directory, tree.place)
            if tree.place.split("/")[0] not in _TREES:  # elsewhere in the server's home, such as an attempt's directory
                make_private_directory(top, self.directory)
            for name, content in tree.files.items():
                own = [path_below(self._machine_home, f"{tree.place}/{name}")]
                self._place(path_below(top, name), content, fetch, own)

    def _place_earlier(self, fetch: Fetch) -> None:
        for epoch, listing in self._inputs.earlier.items():
            for name, content in listing.items():
                path = path_below(self._attempt(epoch), name)
                self._place(path, content, fetch, [path])

    def _place(self, path: Path, content: FileContent, fetch: Fetch, candidates: list[Path]) -> None:
        found = fetch(content, candidates)
        make_private_directory(path.parent, self.directory)
        if (text := self._translated(path.name, found)) is not None:
            write_durably(path, text.encode(), private=True)
            return
        with staging.directory(path, 0o700) as staged:
            os.link(found, staged / "file")
            (staged / "file").replace(path)

    def _translated(self, name: str, found: Path) -> str | None:
        """A manifest with its paths as they are here; None where nothing in it changes."""
        if name not in _TRANSLATED:
            return None
        try:
            values = json.loads(found.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        here = self.paths.here(values)
        return None if here == values else json.dumps(here, indent=2, ensure_ascii=False)


def _lock_directory(server: Path, job: Job, machine_home: Path) -> tuple[Path, BinaryIO]:
    """The directory of a job and a lock on it; another one where an agent that was stopped still holds the first."""
    for name in (f"{job.id:06d}", f"{job.id:06d}-{job.epoch}"):
        directory = make_private_directory(server / name, machine_home)
        lock = open_private(directory / _LOCK, "a+b")
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock.fileno()), (directory / _LOCK).stat()):  # it was not deleted meanwhile
                return directory, lock
        lock.close()
    raise JobError(f"job {job.id} is run by another agent on this machine.")


def sweep(server: Path) -> None:
    """End what killed agents left running in homes of jobs, and delete those homes when they are old."""
    for home in server.glob("[0-9]*"):
        with suppress(OSError), (home / _LOCK).open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for attempt in attempts(home, int(home.name.partition("-")[0])):
                LocalExecutor().kill_leftovers(attempt)
            if time.time() - (home / _LOCK).stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(home, ignore_errors=True)


def _blank(config: dict[str, Any], field: str) -> None:
    """Here the result goes to a name by default: the server puts it where it is wanted."""
    *sections, last = field.split(".")
    values: Any = config
    for section in sections:
        values = values.get(section) if isinstance(values, Mapping) else None
    if isinstance(values, dict) and values.get(last):
        values[last] = ""
