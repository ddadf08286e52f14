"""A tiny real task: counts to N, saves after every step, goes on from what earlier attempts saved.

Run as a module it is an attempt that knows this task and loads no plugins.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from camelid_core import staging
from camelid_core.artefacts import Manifest, write_manifest
from camelid_core.config import Config
from camelid_core.errors import DataError
from camelid_core.integrity import write_durably
from camelid_core.jobs import attempt
from camelid_core.jobs.run_directories import home_of
from camelid_core.references import FileName
from camelid_core.tasks import Interrupted, Task, TaskContext


class Ticks(Config):
    count: int = 2
    """How far to count."""
    seconds: float = 0.01
    """Pause between steps."""
    then: str = ""
    """What goes wrong at the end; "held" waits there until the home directory has a file `go`."""
    reads: FileName = ""
    """A file whose first line the result repeats."""
    output: str | None = None
    """Where the result goes."""


def run(config: Ticks, context: TaskContext) -> Mapping[str, Any]:
    first = saved(context.earlier_attempts)
    done = first
    while done < config.count:
        stop = context.stop_requested()
        if stop == "save" and config.then != "ignores_stop":
            time.sleep(1.5 if config.then == "slow" else 0)
            raise Interrupted
        if stop == "finish":
            break
        time.sleep(config.seconds)
        done += 1
        write_durably(context.directory / "state.json", json.dumps(done).encode())
        context.emit("progress", done=done, total=config.count, unit="tick", leaving=60 * (config.then == "slow"))
        if done == 1 and config.then == "sleepers":
            start_sleepers(context.directory)
    while config.then == "held" and not (home_of(context.directory) / "go").exists():
        time.sleep(config.seconds)
    if config.then == "kill":
        context.output.mkdir()
        (context.output / "half").touch()
        with staging.directory(context.directory / "step"):
            go_wrong("kill")
    go_wrong(config.then)
    if config.then != "nothing":
        context.output.mkdir()
        (context.output / "ticks.json").write_text(json.dumps(done))
        write_manifest(context.output, Manifest(kind="evaluation", parameters=read_line(config.reads)))
    if config.then == "damaged":
        (context.output / "ticks.json").write_text("1000")
    return {"ticks": done, "first": first}


def read_line(path: str) -> dict[str, str]:
    return {"path": path, "line": Path(path).read_text().splitlines()[0]} if path else {}


def saved(earlier: tuple[Path, ...]) -> int:
    for directory in earlier:
        if (directory / "state.json").exists():
            return int(json.loads((directory / "state.json").read_text()))
    return 0


def start_sleepers(directory: Path) -> None:
    """A helper in our group, and one that left it with a session and a parent of its own."""
    helper = subprocess.Popen(["sleep", "300"])
    script = (
        "import subprocess as s; print(s.Popen(['sleep', '300'], start_new_session=True, stdout=-3, stderr=-3).pid)"
    )
    stray = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    write_durably(directory / "sleepers.json", json.dumps([helper.pid, int(stray.stdout)]).encode())


def go_wrong(how: str) -> None:
    if how == "crash":
        raise ZeroDivisionError("the bug")
    if how == "exit":
        raise SystemExit(3)
    if how == "hard exit":
        os._exit(9)
    if how == "bad data":
        raise DataError("Row 3 is bad; mend it.")
    if how == "memory":
        raise MemoryError
    if how == "disk":
        raise RuntimeError("could not save") from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


TICK = Task("tick", "Count.", "ticking:Ticks", "ticking:run", portable=True)

if __name__ == "__main__":
    sys.exit(attempt.main(tasks=lambda: {"tick": TICK}))
