"""What goes wrong: signals to workers, attempts and the submitter, a full disk, and people who change their minds.

Knows processes and a small disk. Knows no rule that must hold.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from camelid_core.errors import JobError
from camelid_core.jobs.job import ACTIVE, Job, JobState
from camelid_core.jobs.store import JobStore
from far_parts import Wire
from parts import LEASE_SECONDS

HERE = Path(__file__).parent
_PAGE = 4096


class Part:
    """A process that is started again whenever it is gone. What it says goes to a file."""

    def __init__(self, log: Path, program: str, *arguments: object) -> None:
        self._log = log
        self._command = [sys.executable, str(HERE / program), *map(str, arguments)]
        self.restarts = -1
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        self.restarts += 1
        self.since = time.monotonic()
        with self._log.open("ab") as log:
            return subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def keep_alive(self) -> None:
        if self.process.poll() is not None:
            self.process = self._start()

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def attempts(self) -> list[psutil.Process]:
        with suppress(psutil.Error):
            return psutil.Process(self.process.pid).children()
        return []


@dataclass
class Parts:
    """All that can be hit. `workers` are those of the server's machine and the agents of others."""

    submitter: Part
    workers: list[Part]
    door: list[Part] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)

    def keep_alive(self, submit: bool) -> None:
        for part in (*self.workers, *self.door, *([self.submitter] if submit else [])):
            part.keep_alive()


class Disk:
    """A tmpfs of our own that can be made full and roomy again; without one nothing happens."""

    def __init__(self, home: Path, megabytes: int) -> None:
        self._home = home
        self._bytes = megabytes * 1_000_000
        self.small = os.path.ismount(home)

    def fill(self) -> bool:
        """A page or two are left, as on a disk that just became full."""
        room = os.statvfs(self._home)
        used = (room.f_blocks - room.f_bfree) * room.f_frsize
        return self.small and self._resize(used + random.choice((0, 1, 2, 8)) * _PAGE)

    def free(self) -> None:
        if self.small and not self._resize(self._bytes):
            raise SystemExit("the disk cannot be made roomy again")

    def _resize(self, size: int) -> bool:
        command = ["mount", "-o", f"remount,size={size}", str(self._home)]
        return subprocess.run(command, capture_output=True).returncode == 0


class Faults:
    """One fault after another; what is stopped, cut or full is let go by itself some seconds later."""

    def __init__(self, parts: Parts, disk: Disk, seed: int) -> None:
        self._parts = parts
        self._disk = disk
        self._chance = random.Random(seed)
        self._later: list[threading.Timer] = []
        self.counts: Counter[str] = Counter()

    def one(self) -> None:
        kinds = {
            "kill worker": 5, "kill worker and attempt": 3, "kill attempt": 3, "kill submitter": 1.5, "stop worker": 1,
            "stop worker and attempt": 1, "terminate worker": 1, "disk full": 1.5 if self._disk.small else 0,
            "kill door": 1.5 if self._parts.door else 0, "network cut": 1.5 if self._parts.wires else 0,
        }  # fmt: skip
        kind = self._chance.choices([*kinds], [*kinds.values()])[0]
        # of two the one that has run longer: one that only begins has little to lose
        worker = min(self._chance.sample(self._parts.workers, 2), key=lambda part: part.since)
        if kind == "kill submitter":
            self._parts.submitter.signal(signal.SIGKILL)
        elif kind == "kill door":
            for door in self._parts.door:
                door.signal(signal.SIGKILL)
        elif kind == "network cut":
            wire = self._chance.choice(self._parts.wires)
            wire.cut()
            self._at(self._chance.uniform(0.1, 2.5) * LEASE_SECONDS, wire.mend)
        elif kind == "disk full":
            if not self._disk.fill():
                return
            self._at(self._chance.uniform(0.2, 1.5), self._disk.free)
        elif not self._hit(worker, kind):
            return
        self.counts[kind] += 1

    def _hit(self, worker: Part, kind: str) -> bool:
        """Whether there was anything to hit."""
        number = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "terminate": signal.SIGTERM}[kind.split()[0]]
        attempts = worker.attempts() if kind.endswith("attempt") else []
        if kind == "kill attempt" and not attempts:
            return False
        if kind != "kill attempt":
            worker.signal(number)
        for attempt in attempts:
            with suppress(psutil.Error):
                attempt.send_signal(number)
        if number == signal.SIGSTOP:
            seconds = self._chance.uniform(0.3, 2.5) * LEASE_SECONDS
            self._at(seconds, lambda: self._go_on(worker, attempts))
        return True

    def _go_on(self, worker: Part, attempts: list[psutil.Process]) -> None:
        worker.signal(signal.SIGCONT)
        for attempt in attempts:
            with suppress(psutil.Error):
                attempt.resume()

    def _at(self, seconds: float, do: Callable[[], object]) -> None:
        """By a thread of its own: who judges may be waiting for a lock that a stopped worker holds."""
        timer = threading.Timer(seconds, do)
        timer.daemon = True
        timer.start()
        self._later.append(timer)

    def let_go(self) -> None:
        """Wait until all that was stopped goes on and the disk is roomy again."""
        for timer in self._later:
            timer.join()


class People:
    """They cancel, pause, finish, retry and reorder at random, and look after what would wait for ever."""

    def __init__(self, store: JobStore, seed: int) -> None:
        self._store = store
        self._chance = random.Random(seed)
        self.requests: Counter[str] = Counter()

    def one(self) -> None:
        jobs = self._store.list(limit=100)
        job = self._chance.choice(jobs) if jobs else None
        request = self._chance.choice(("cancel", "pause", "finish", "retry", "prioritise"))
        if job is not None:
            self._try(request, job)

    def tidy(self, over: bool = False) -> None:
        """Cancel what hangs, take up again what was paused, and cancel what waits for a job that failed; once it is
        `over`, everything that hangs."""
        for job in self._store.list([JobState.CLAIMED, JobState.RUNNING, JobState.QUEUED], limit=1000):
            hangs = job.config["how"] == "hang" and (over or time.time() - job.created > 1)
            if (hangs and job.state in ACTIVE) or self._waits_in_vain(job):
                self._try("cancel", job)
        for job in self._store.list([JobState.PAUSED], limit=20):
            self._try("retry", job)

    def _waits_in_vain(self, job: Job) -> bool:
        if job.state != JobState.QUEUED or not job.depends_on:
            return False
        with suppress(JobError):
            needed = [self._store.get(each) for each in job.depends_on]
            return any(each.state in (JobState.FAILED, JobState.CANCELLED) for each in needed)
        return True

    def _try(self, request: str, job: Job) -> None:
        with suppress(JobError):  # it has ended meanwhile, or the disk is full
            if request == "retry":
                self._store.retry(job.id)
            elif request == "prioritise":
                self._store.prioritise(job.id, self._chance.choice((0, 0, 5)))
            else:
                self._store.request(job.id, request)  # type: ignore[arg-type]
            self.requests[request] += 1
