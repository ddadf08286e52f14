"""A server program as a child process: started on a free port, watched, restarted when it dies, ended with us.

Knows processes, ports, health paths and a log. Knows nothing of models and requests. However this process ends, the
program ends too: it runs under `child_guard`, which sees our end of a pipe close.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import httpx
from camelid_core.errors import MissingPackage, ModelError
from camelid_core.file_permissions import make_private_directory, open_private
from camelid_core.jobs.watchdog import cap_log
from camelid_core.paths import validated_path
from camelid_core.subprocesses import child_environment

from . import child_guard
from .keys import redact

RESTARTS = 3
RESTARTS_WITHIN = 600.0
"""A server that dies more often than this in that many seconds is not started again."""
_TICK = 0.1
_REPORT_SECONDS = 10.0
_WAIT_SECONDS = 45.0
"""Longest that a request waits for a server that is being restarted; then it gets an error."""
_LOG_BYTES = 50_000_000
_TAIL_BYTES = 8192
_CLOSE_SECONDS = 8.0


class ServerProcess:
    """`command` and `environment` depend on the port. A `ServerAddress` for `Upstream`: requests wait while it
    restarts."""

    def __init__(
        self,
        name: str,
        command: Callable[[int], Sequence[str]],
        environment: Callable[[int], Mapping[str, str]],
        health: str,
        log: Path,
        start_seconds: float,
        secret: str = "",
    ) -> None:
        self.name = name
        self._command = command
        self._environment = environment
        self._health = health
        self._log_path = log
        self._start_seconds = start_seconds
        self._secret = secret
        self._exit_times: deque[float] = deque(maxlen=RESTARTS + 1)
        self._ready = threading.Event()
        self._closing = threading.Event()
        self._failure = ""
        self._url = ""
        self._log: IO[bytes] | None = None
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._supervise, daemon=True, name=f"{name} supervisor")

    def start(self, report: Callable[[str], None]) -> None:
        """Start it and wait until it answers, with lines of progress.

        Raises:
            ModelError: it ended, or took too long; the last line of its log is in the message.
        """
        make_private_directory(self._log_path.parent)
        self._log = open_private(self._log_path, "ab")
        report(f"Starting {self.name}; its own words are in {self._log_path}")
        started = last_report = time.monotonic()
        self._thread.start()
        while not self._ready.wait(_TICK):
            if self._failure:
                self.close()
                raise ModelError(self._failure)
            if time.monotonic() - last_report >= _REPORT_SECONDS:
                last_report = time.monotonic()
                report(f"{self.name} is starting ({last_report - started:.0f} s): {self._last_words()}")
        report(f"{self.name} answers at {self._url}")

    @property
    def alive(self) -> bool:
        return not self._failure

    async def url(self) -> str:
        until = time.monotonic() + _WAIT_SECONDS
        while not self._ready.is_set():
            if self._failure or self._closing.is_set():
                raise ModelError(self._failure or f"{self.name} was ended.")
            if time.monotonic() > until:
                raise ModelError(f"{self.name} ended and is being started again; ask again later.")
            await asyncio.sleep(_TICK)
        return self._url

    @property
    def pid(self) -> int:
        """Of the child guard, which leads the program's process group."""
        return self._process.pid if self._process else 0

    def close(self) -> None:
        self._closing.set()
        self._ready.clear()
        if self._thread.is_alive():
            self._thread.join()
        if self._log is not None:
            self._log.close()

    def _supervise(self) -> None:
        """On one thread from first to last: start, watch, restart."""
        first = True
        while not self._closing.is_set():
            try:
                self._spawn()
                problem = self._await_health()
                if not problem:
                    self._ready.set()
                    problem, first = self._watch(), False
            except (OSError, ValueError) as error:  # options that no program can be given, too
                problem = f"{self.name} cannot be started: {error}."
            finally:
                self._ready.clear()
                self._end()
            if self._closing.is_set():
                return
            self._failure = problem if first else self._record_exit(problem)
            if self._failure:
                return

    def _spawn(self) -> None:
        assert self._log is not None
        port = _free_port()
        self._url = f"http://127.0.0.1:{port}"
        self._log_start = self._log.seek(0, os.SEEK_END)
        environment = child_environment(os.environ) | dict(self._environment(port))
        environment.pop("PYTHONPATH", None)  # it has packages of its own
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(child_guard.__file__)), *self._command(port)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )

    def _await_health(self) -> str:
        """Empty once it answers, else what went wrong."""
        until = time.monotonic() + self._start_seconds
        with httpx.Client(timeout=5, trust_env=False, headers=self._headers()) as client:
            while not self._closing.wait(_TICK):
                if (ended := self._ended()) or time.monotonic() > until:
                    late = f"{self.name} did not answer within {self._start_seconds:g} s (start_seconds)"
                    return f"{ended or late}; it said last: {self._last_words()} All of it is in {self._log_path}."
                with suppress(httpx.HTTPError):
                    if client.get(self._url + self._health).status_code == 200:
                        return ""
        return "closing"

    def _watch(self) -> str:
        while not self._closing.wait(_TICK):
            if ended := self._ended():
                return f"{ended}; it said last: {self._last_words()} All of it is in {self._log_path}."
            if self._log is not None:
                cap_log(self._log.fileno(), _LOG_BYTES)
        return ""

    def _record_exit(self, problem: str) -> str:
        """Empty if it may be restarted, else why not."""
        self._exit_times.append(time.monotonic())
        self._note(f"{problem} It is started again.")
        if len(self._exit_times) <= RESTARTS or self._exit_times[-1] - self._exit_times[0] > RESTARTS_WITHIN:
            return ""
        minutes = RESTARTS_WITHIN / 60
        return f"{self.name} ended {len(self._exit_times)} times in {minutes:.0f} minutes and stays so. {problem}"

    def _ended(self) -> str:
        code = self._process.poll() if self._process else 0
        if code is None:
            return ""
        number = -code if code < 0 else code - 128
        if number == signal.SIGKILL:
            return f"{self.name} was killed, most often because memory ran out"
        return f"{self.name} ended with exit code {code}"

    def _end(self) -> None:
        """Close the pipe, on which the child guard ends everything; then kill what is left."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(OSError):
            process.stdin.close()  # type: ignore[union-attr]
        with suppress(subprocess.TimeoutExpired):
            process.wait(_CLOSE_SECONDS)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # workers that outlived the program
        process.wait()

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._secret}"} if self._secret else {}

    def _last_words(self) -> str:
        with suppress(OSError), self._log_path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - _TAIL_BYTES))
            lines = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
            if lines:
                return redact(self._secret, lines[-1][:300])
        return "nothing yet."

    def _note(self, text: str) -> None:
        """Write a line to the server's log and to stderr, where Camelid's own messages go."""
        sys.stderr.write(f"{text}\n")
        if self._log is not None:
            with suppress(OSError):
                os.write(self._log.fileno(), f"[Camelid: {text}]\n".encode())


def find_program(program: str, name: str, install: str) -> str:
    """The path of a program.

    Raises:
        MissingPackage: it is not installed; the message says how to install it.
    """
    found = shutil.which(str(validated_path(program, "program")) if "/" in program else program)
    if found is None:
        raise MissingPackage(f"{name} needs the program {program!r}, which is not here. To have it: {install}.")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
