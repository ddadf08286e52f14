"""Starts GPTQModel in a process of its own, follows it, and ends it when a stop is requested.

The interpreter is this one, or that of another environment, which the plugin's setting `python` names. Knows processes.
Knows nothing of what GPTQModel does.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from camelid_core.errors import MissingPackage, ModelError
from camelid_core.subprocesses import safe_environment

from .settings import SETTINGS

_SCRIPT = Path(__file__).with_name("gptqmodel_process.py")
_GONE = (
    "the setting python of gptq is {!r}, and there is no such file; `camelid plugins settings gptq "
    "python=/path/to/bin/python` names another."
)
_POLL_SECONDS = 0.5
_GRACE_SECONDS = 5.0
Report = Callable[[dict[str, Any]], None]


def missing_library() -> str:
    """What to install or to mend before anything can be quantised here, as a sentence; empty where all is there."""
    other = SETTINGS.load().python
    if other:
        return "" if Path(other).is_file() else _GONE.format(other)
    if find_spec("gptqmodel") is None:
        return (
            "GPTQModel is not installed; type `pip install camelid-gptq`, or name the Python of an environment that "
            "has it: `camelid plugins settings gptq python=/path/to/bin/python`."
        )
    return ""


class GptqmodelProcess:
    """A running process of GPTQModel, which takes one request after the other. It writes logs below `directory`.

    Raises:
        MissingPackage: GPTQModel is not there.
    """

    def __init__(self, directory: Path) -> None:
        if missing := missing_library():
            raise MissingPackage(missing)
        command = [sys.executable, "-P", str(_SCRIPT)]
        environment = safe_environment(os.environ)
        if other := SETTINGS.load().python:
            command[0] = other
            environment.pop("PYTHONPATH", None)  # it is this interpreter's
        self._process = subprocess.Popen(
            command, cwd=directory, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True, name="read GPTQModel")
        self._reader.start()

    def run(self, request: Mapping[str, Any], path: Path, report: Report) -> str:
        """Quantise as `request`, which is written to `path`, says; returns the tool and its version. `report` is called
        with each message, and at least twice a second; what it raises is raised.

        Raises:
            ModelError: GPTQModel failed, with what it said.
        """
        path.write_text(json.dumps(dict(request)), encoding="utf-8")
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, and the loop below says how
            print(path, file=self._process.stdin, flush=True)
        failure = ""
        for message in self._messages():
            report(message)
            if tool := message.get("quantised"):
                return str(tool)
            failure = message.get("error", failure)
        raise ModelError(f"GPTQModel failed: {failure or _ending(self._process.wait())}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """End it, whatever it is doing."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _messages(self) -> Iterator[dict[str, Any]]:
        """What the process says, and an empty message whenever it said nothing for a while."""
        while True:
            try:
                line = self._lines.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                yield {}
                continue
            if not line:
                return
            yield json.loads(line)


def _ending(code: int) -> str:
    if code == -9:
        return "its process was killed, most likely because memory ran out. Fewer or shorter rows need less."
    return f"its process ended with {code}; the job's log has what it printed."
