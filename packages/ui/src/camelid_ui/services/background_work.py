"""Background work that is no job: it runs in a thread of the server while pages poll its progress.

Knows threads and progress. Knows nothing of what is done. Closing a page changes nothing; when the server ends, the
work ends too, and the next server says so.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from camelid_core.errors import CamelidError, UsageError
from camelid_core.file_permissions import make_private_directory
from camelid_core.plugin_faults import error_sentence

ReportProgress = Callable[[int], None]
MAX_FINISHED = 64
"""Finished pieces of work whose results are kept."""
INTERRUPTED = "the server was stopped before this was done; start it again."


class Cancelled(CamelidError):
    """The work was stopped."""


@dataclass
class BackgroundWork:
    """One piece of work. `result` is set once it is done, `error` once it failed. `done` and `total` count rows, or
    bytes of the file `item`."""

    key: str
    total: int = 0
    unit: Literal["rows", "bytes"] = "rows"
    item: str = ""
    done: int = 0
    state: Literal["running", "done", "failed"] = "running"
    result: Any = None
    error: str = ""
    started: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    _stop: bool = False
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def running(self) -> bool:
        return self.state == "running"

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.started

    @property
    def eta(self) -> float | None:
        """Estimated seconds left, at the speed so far."""
        if not self.running or not self.done or self.total <= self.done:
            return None
        return self.seconds / self.done * (self.total - self.done)

    def stop(self) -> None:
        self._stop = True

    def wait(self, seconds: float) -> BackgroundWork:
        """Itself, once it has ended or so many seconds have passed: short work needs no second poll."""
        self._ended.wait(seconds)
        return self

    def report(self, done: int) -> None:
        """Called from within the work.

        Raises:
            Cancelled: it is to stop.
        """
        self.done = done
        if self._stop:
            raise Cancelled("stopped.")


class BackgroundRunner:
    """Starts work, once per key, and keeps the last result of each key. With a `directory`, the next server knows which
    work was interrupted."""

    def __init__(self, directory: Path | None = None) -> None:
        self._works: dict[str, BackgroundWork] = {}
        self._lock = threading.Lock()
        self._keys_file = _RunningKeysFile(directory) if directory else None
        for key in self._keys_file.interrupted_keys() if self._keys_file else ():
            self._works[key] = BackgroundWork(key, state="failed", error=INTERRUPTED)

    def start(
        self,
        key: str,
        do: Callable[[ReportProgress], Any],
        total: int = 0,
        unit: Literal["rows", "bytes"] = "rows",
        busy_message: str = "",
    ) -> BackgroundWork:
        """The running work with this key if there is one, else `do(report)` in a new thread.

        Raises:
            UsageError: there is one, which may be different work; with the text `busy_message`.
        """
        with self._lock:
            known = self._works.get(key)
            if known is not None and known.running:
                if busy_message:
                    raise UsageError(busy_message)
                return known
            self._works.pop(key, None)
            self._drop_oldest_results()
            work = self._works[key] = BackgroundWork(key, total, unit)
            self._write_keys()
        threading.Thread(target=self._run, args=(work, do), name=f"work {key}", daemon=True).start()
        return work

    def get(self, key: str) -> BackgroundWork | None:
        return self._works.get(key)

    def forget(self, prefix: str = "") -> None:
        """Drop ended work and its results."""
        with self._lock:
            for key in [key for key, work in self._works.items() if key.startswith(prefix) and not work.running]:
                del self._works[key]

    def _drop_oldest_results(self) -> None:
        """Results are kept for pages that ask again, up to a limit."""
        over = [key for key, work in self._works.items() if not work.running]
        for key in over[: max(0, len(over) - MAX_FINISHED)]:
            del self._works[key]

    def _write_keys(self) -> None:
        if self._keys_file is not None:
            self._keys_file.write(key for key, work in self._works.items() if work.running)

    def _run(self, work: BackgroundWork, do: Callable[[ReportProgress], Any]) -> None:
        state: Literal["done", "failed"] = "failed"
        try:
            work.result = do(work.report)
            state = "done"
        except CamelidError as error:
            work.error = str(error)
        except (Exception, SystemExit) as error:  # whatever it is, the page shows it as a sentence
            work.error = error_sentence(error)
        finally:
            work.ended = time.monotonic()
            work.state = state
            with self._lock:
                self._write_keys()
            work._ended.set()


class _RunningKeysFile:
    """The keys of running work, in a file that is locked as long as its server lives."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = -1

    def interrupted_keys(self) -> Iterator[str]:
        """Keys in files whose servers have ended; the files are deleted."""
        for path in self._directory.glob("*.json"):
            with suppress(OSError, ValueError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                yield from map(str, json.load(file))

    def write(self, keys: Iterable[str]) -> None:
        """Ignores a full disk: the work itself reports it."""
        with suppress(OSError):
            if self._file < 0:
                make_private_directory(self._directory)
                path = self._directory / f"{secrets.token_hex(8)}.json"
                self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, json.dumps(list(keys)).encode(), 0)
