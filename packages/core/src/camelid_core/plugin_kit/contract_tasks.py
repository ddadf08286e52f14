"""A plugin with the task that executors are tested with: it counts, and goes wrong as it is told.

Not loaded by the product: who tests an executor sets
CAMELID_PLUGINS=executor-contract==1=camelid_core.plugin_kit.contract_tasks where attempts run.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from typing import Any, Literal

from camelid_core import hookimpl
from camelid_core.artefacts import Manifest, write_manifest
from camelid_core.config import Config
from camelid_core.errors import DataError
from camelid_core.tasks import Interrupted, Task, TaskContext

CAMELID_API = 1
_COUNT = "count.txt"


class CountConfig(Config):
    """How far to count, and how."""

    upto: int = 2
    """How far to count."""
    seconds: float = 0.02
    """Pause between two numbers."""
    ends: Literal["well", "refused", "killed"] = "well"
    """How it ends: with a result, with an error, or by signal 9."""
    stubborn: bool = False
    """Do not listen to stop requests."""
    output: str = ""
    """Where the result goes."""


def run(config: CountConfig, context: TaskContext) -> Mapping[str, Any]:
    """Count; what was counted in earlier attempts is not counted again."""
    first = done = max([0, *(_counted(path / _COUNT) for path in context.earlier_attempts)])
    with (context.directory / _COUNT).open("a", encoding="ascii") as file:
        while done < config.upto:
            stop = "" if config.stubborn else context.stop_requested()
            if stop == "save":
                raise Interrupted
            if stop == "finish":
                break
            time.sleep(config.seconds)
            done += 1
            file.write(f"{done}\n")
            file.flush()
            context.emit("progress", done=done, total=config.upto, unit="number")
    if config.ends == "refused":
        raise DataError("the task was told to refuse.")
    if config.ends == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    context.output.mkdir()
    write_manifest(context.output, Manifest(kind="evaluation"))
    return {"first": first, "counted": done}


def _counted(path: Any) -> int:
    try:
        lines = path.read_text(encoding="ascii").split()
    except FileNotFoundError:
        return 0
    return int(lines[-1]) if lines else 0


@hookimpl
def camelid_tasks() -> list[Task]:
    here = __name__
    return [Task("count", "Count, to test executors.", f"{here}:CountConfig", f"{here}:run")]
