"""The engine process as a child process: its start and end, its pipes, and which sink gets which events.

Knows processes and lines of JSON. Knows nothing of their content, save which events are final.
Every method may be called from any thread.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections import deque
from contextlib import suppress
from typing import Any, Protocol

from camelid_core.errors import ModelError
from camelid_core.subprocesses import child_environment, module_command

from camelid_serve.engine import ENGINE_KEY

_CLOSE_SECONDS = 5.0
_FINAL_EVENTS = ("loaded", "done", "error")


class EventSink(Protocol):
    """Takes the events of one request, on the thread that reads the pipe: it must neither block nor raise."""

    def put(self, event: dict[str, Any], /) -> None: ...


class ChildProcess:
    """One run of the process: its pipes, and the sinks of the requests that it has not answered."""

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            module_command(module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(os.environ) | _engine_key(),
            start_new_session=True,
            encoding="utf-8",
            errors="replace",
        )
        self._lock = threading.Lock()
        self._write_lock = threading.Lock()  # apart: writing a long prompt delays no event
        self._waiting: dict[int, EventSink] = {}
        self._ending = self._killed = False
        self._stderr_tail: deque[str] = deque(maxlen=20)
        self._stderr_reader = threading.Thread(target=self._read_stderr, daemon=True, name="engine log")
        self._event_reader = threading.Thread(target=self._read_events, daemon=True, name="engine events")
        self._stderr_reader.start()
        self._event_reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def submit(self, request: dict[str, Any], sink: EventSink) -> None:
        with self._lock:
            self._waiting[request["id"]] = sink
        try:
            self.send(request)
        except ModelError:
            with self._lock:
                answered = self._waiting.pop(request["id"], None) is None
            if not answered:
                raise

    def send(self, request: dict[str, Any]) -> None:
        line = json.dumps(request) + "\n"
        stdin = self._process.stdin
        try:
            with self._write_lock:
                stdin.write(line)  # type: ignore[union-attr]
                stdin.flush()  # type: ignore[union-attr]
        except (OSError, ValueError):
            raise ModelError(self._death_message()) from None

    def kill(self) -> None:
        if self.alive:
            self._killed = True
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Ask it to end, then kill it: one that loads a model may read nothing for minutes. Open requests get an
        error."""
        self._ending = True
        if self._write_lock.acquire(timeout=_CLOSE_SECONDS):  # else the pipe is full, and the child does not read it
            self._close_stdin()
            self._write_lock.release()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_CLOSE_SECONDS)
        self.kill()
        for thread in (self._event_reader, self._stderr_reader):
            thread.join()

    def _read_events(self) -> None:
        with self._process.stdout as lines:  # type: ignore[union-attr]
            for line in lines:
                self._deliver(json.loads(line))
        self._on_exit()

    def _deliver(self, event: dict[str, Any]) -> None:
        with self._lock:
            events = self._waiting.get(event["id"])
            if event["event"] in _FINAL_EVENTS:
                self._waiting.pop(event["id"], None)
        if events is not None:
            events.put(event)

    def _on_exit(self) -> None:
        """The child has ended: every open request gets an error."""
        self._process.wait()
        self._stderr_reader.join(1)
        with self._write_lock:
            self._close_stdin()
        with self._lock:
            waiting, self._waiting = list(self._waiting.values()), {}
        for events in waiting:
            events.put({"event": "error", "type": "ModelError", "message": self._death_message()})

    def _close_stdin(self) -> None:
        with suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]

    def _read_stderr(self) -> None:
        with self._process.stderr as lines:  # type: ignore[union-attr]
            for line in lines:
                if line.strip():
                    self._stderr_tail.append(line.strip())

    def _death_message(self) -> str:
        if self._ending:
            return "the model was unloaded; load it again."
        code = self._process.poll()
        if self._killed:
            why = "it gave no sign of life and was ended"
        elif code == -signal.SIGKILL:
            why = "it was killed, most often because memory ran out"
        elif code is not None and code < 0:
            why = f"signal {-code}"
        else:
            why = self._stderr_tail[-1] if self._stderr_tail else f"exit code {code}"
        return f"the model's process ended ({why}); load the model again."


def _engine_key() -> dict[str, str]:
    """The one credential that the child may see, where it is set."""
    return {name: os.environ[name] for name in (ENGINE_KEY,) if name in os.environ}
