"""Identifying processes, and killing those that an attempt left behind without hitting unrelated ones.

A pid alone is no identity: it may have been reused. A process is the one that was recorded only if
pid, start time and boot agree; its descendants carry the attempt's random mark in their environment.
Knows nothing of jobs.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import psutil

from camelid_core.integrity import write_durably

from .clock import boot_id

ATTEMPT_VARIABLE = "CAMELID_ATTEMPT"
"""The environment variable that all processes of one attempt share: its mark, as `new_mark` makes it."""

_FILE = "process.json"
_MAX_KILL_ROUNDS = 10
_FIRST_PAUSE_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    pid: int
    started: str
    boot: str
    mark: str

    @classmethod
    def of(cls, pid: int, mark: str) -> Self:
        return cls(pid, process_start_time(pid), boot_id(), mark)

    def write(self, directory: Path) -> None:
        write_durably(directory / _FILE, json.dumps(asdict(self)).encode(), private=True)

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """None where no process was started, or the record is invalid."""
        try:
            values = json.loads((directory / _FILE).read_text(encoding="utf-8"))
            identity = cls(**values)
        except (OSError, ValueError, TypeError):
            return None
        sound = isinstance(identity.pid, int) and all(
            isinstance(text, str) for text in (identity.started, identity.boot, identity.mark)
        )
        return identity if sound else None

    @property
    def alive(self) -> bool:
        return (
            self.pid > 1
            and self.boot == boot_id()
            and self.started != ""
            and self.started == process_start_time(self.pid)
        )

    def kill(self) -> None:
        """Kill the process group it leads and every process that carries its mark; they have ended when this returns,
        which takes 10 s at most."""
        if self._leads_a_foreign_group():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        for number in range(_MAX_KILL_ROUNDS):  # again for those that fork meanwhile or die slowly
            if not self._kill_marked():
                return
            time.sleep(_FIRST_PAUSE_SECONDS * 2**number)

    def _leads_a_foreign_group(self) -> bool:
        if not self.alive or self.pid in (os.getpid(), os.getpgrp()):
            return False
        with suppress(ProcessLookupError):
            return os.getpgid(self.pid) == self.pid
        return False

    def _kill_marked(self) -> int:
        killed = 0
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if (
                    process.pid not in (0, 1, os.getpid())
                    and self.mark
                    and process.environ().get(ATTEMPT_VARIABLE) == self.mark
                ):
                    process.kill()  # psutil checks the start time again before it signals
                    killed += 1
        return killed


def new_mark(job_id: int, epoch: int) -> str:
    """Says whose attempt a process belongs to, and is like no other: `17-2-` and a random number."""
    return f"{job_id}-{epoch}-{secrets.token_hex(16)}"


def attempt_of_mark(mark: str) -> tuple[int, int] | None:
    """Job and epoch of an attempt; None if that is no mark."""
    found = re.fullmatch(r"(\d{1,18})-(\d{1,18})-[0-9a-f]{32}", mark, re.ASCII)
    return (int(found[1]), int(found[2])) if found else None


def process_start_time(pid: int) -> str:
    """When the process started, as an opaque text to compare; '' if there is no such process.

    On Linux these are kernel ticks since boot, which a change of the wall clock does not move.
    """
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        pass
    if Path("/proc/self/stat").exists():
        return ""
    try:
        return str(psutil.Process(pid).create_time())
    except (psutil.Error, ValueError):
        return ""
