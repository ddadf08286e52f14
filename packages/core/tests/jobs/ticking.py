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
from camelid_core.errors import DataError, PeerLost
from camelid_core.integrity import write_durably
from camelid_core.jobs import attempt
from camelid_core.jobs.run_directories import home_of
from camelid_core.references import FileName
from camelid_core.tasks import Interrupted, Task, TaskContext


class Launch(Config):
    nodes: int = 1
    """How many nodes count at the same time."""


class Ticks(Config):
    count: int = 2
    """How far to count."""
    seconds: float = 0.01
    """Pause between steps."""
    then: str = ""
    """What goes wrong at the end, "signal 9 once" in the first attempt alone; "held" waits there until the home
    directory has a file `go`."""
    memory: int = 0
    """Bytes of a card that it says it takes."""
    reads: FileName = ""
    """A file whose first line the result repeats."""
    output: str | None = None
    """Where the result goes."""
    launch: Launch = Launch()
    """On how many nodes; `then` happens on the last of them only."""


def run(config: Ticks, context: TaskContext) -> Mapping[str, Any]:
    say_what_it_has(config, context)
    if config.launch.nodes > 1:
        config = meet(config, context)
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
    go_wrong(config.then.removesuffix(" once") if not context.earlier_attempts else config.then)
    if config.then != "nothing":
        context.output.mkdir()
        (context.output / "ticks.json").write_text(json.dumps(done))
        write_manifest(context.output, Manifest(kind="evaluation", parameters=read_line(config.reads)))
    if config.then == "damaged":
        (context.output / "ticks.json").write_text("1000")
    return {"ticks": done, "first": first}


def say_what_it_has(config: Ticks, context: TaskContext) -> None:
    (context.directory / "cards").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "unset"))
    if config.memory:
        context.emit("memory", device="cuda", bytes=config.memory)


def meet(config: Ticks, context: TaskContext) -> Ticks:
    """Say where the nodes meet. What goes wrong does so on the last one alone; if that loses a peer, node 0 is the one
    that failed, which it says a little later; if it is killed, the others are still at work."""
    meeting = {name: os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "CAMELID_GROUP")}
    context.emit("meeting", **meeting)
    last = int(meeting["NODE_RANK"]) == config.launch.nodes - 1
    others = {"kill": {"then": "held"}, "peer lost": {"then": "bad data", "count": config.count + 30}}
    return config if last else config.model_copy(update=others.get(config.then, {"then": ""}))


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


ERRORS = {
    "crash": ZeroDivisionError("the bug"),
    "exit": SystemExit(3),
    "bad data": DataError("Row 3 is bad; mend it."),
    "peer lost": PeerLost("the connection broke."),
    "memory": MemoryError(),
    "accelerator": RuntimeError("CUDA error: an illegal memory access was encountered"),
}


def go_wrong(how: str) -> None:
    if how in ERRORS:
        raise ERRORS[how]
    if how == "hard exit":
        os._exit(9)
    if how == "disk":
        raise RuntimeError("could not save") from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how.startswith("signal ") and not how.endswith("once"):
        os.kill(os.getpid(), int(how.split()[1]))


TICK = Task("tick", "Count.", "ticking:Ticks", "ticking:run", portable=True)

if __name__ == "__main__":
    sys.exit(attempt.main(tasks=lambda: {"tick": TICK}))
