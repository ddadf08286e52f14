"""Stub jobs that run as real attempts do, with their watchdog: some last, some hang until they are asked to stop.

Knows the task's contract. Knows nothing of what goes wrong around it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from camelid_core.artefacts import Manifest, write_manifest
from camelid_core.config import Config
from camelid_core.integrity import write_durably
from camelid_core.jobs import attempt
from camelid_core.tasks import Interrupted, Task, TaskContext

_STEP_SECONDS = 0.1


class Stub(Config):
    how: str
    """What it does; the full stub knows `long` and `hang`."""
    key: str
    """Whose result it is."""
    steps: int = 10
    """Steps of 0.1 s until it is done."""
    output: str | None = None
    """Where the result goes."""


def run(config: Stub, context: TaskContext) -> Mapping[str, Any]:
    done = _saved(context)
    while done < config.steps or config.how == "hang":
        stop = context.stop_requested()
        if stop == "save":
            raise Interrupted
        if stop == "finish":
            break
        time.sleep(_STEP_SECONDS)
        done += 1
        write_durably(context.directory / "state.json", json.dumps(done).encode())
        context.emit("progress", done=done, total=config.steps, unit="step")
    context.output.mkdir()
    epoch = int(context.directory.name)
    spec = {"key": config.key, "job": int(context.directory.parent.name), "epoch": epoch, "how": config.how}
    (context.output / "stub.json").write_text(json.dumps(spec), encoding="utf-8")
    write_manifest(context.output, Manifest(kind="evaluation"))
    return {"steps": done}


def _saved(context: TaskContext) -> int:
    for directory in context.earlier_attempts:
        if (directory / "state.json").exists():
            return int(json.loads((directory / "state.json").read_text()))
    return 0


STUB = Task("stub", "Do nothing, or the wrong thing.", "full_stub:Stub", "full_stub:run", portable=True)

if __name__ == "__main__":
    sys.exit(attempt.main(tasks=lambda: {"stub": STUB}))
