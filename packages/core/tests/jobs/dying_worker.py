"""A worker that dies at a named place: `dying_worker.py HOME JOB POINT`; it kills itself with signal 9 there.

A point is `before` or `after` a call of one of the product's own functions, replaced in this process alone: the product
has no place where faults are injected. Points of the attempt are handed on to its process in CAMELID_TEST_POINT.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from camelid_core.jobs import attempt_result, executors, publication, store, worker
from camelid_core.jobs.executors import LocalExecutor
from camelid_core.jobs.job import JobState
from camelid_core.jobs.store import JobStore

VARIABLE = "CAMELID_TEST_POINT"
ALWAYS: Callable[..., bool] = lambda *arguments, **named: True  # noqa: E731


def _succeeds(db: object, job: object, **changes: Any) -> bool:
    return changes.get("state") == JobState.SUCCEEDED


def _in_artefacts(path: Path, *_: object) -> bool:
    return path.name == "artefacts"


IN_WORKER: dict[str, tuple[Any, str, Callable[..., bool]]] = {
    "claim": (store.JobStore, "claim", ALWAYS),
    "mkdir": (Path, "mkdir", lambda path, *_, **__: path.parent.parent.name == "runs"),
    "process started": (executors.ProcessIdentity, "of", ALWAYS),
    "process record": (executors.LocalAttemptHandle, "record", ALWAYS),
    "running": (store.JobStore, "start", ALWAYS),
    "heartbeat": (store.JobStore, "heartbeat", ALWAYS),
    "verify": (worker, "_verify_artefact", ALWAYS),
    "placement record": (publication, "write_durably", lambda path, *_, **__: path.name == publication.PLACEMENT),
    "rename": (Path, "rename", lambda path, target: path.name == publication.OUTPUT),
    "fsync of the place": (publication, "fsync_directory", _in_artefacts),
    "commit": (store, "_update", _succeeds),  # the transaction is open until later
    "publish": (store.JobStore, "publish", ALWAYS),
}
IN_ATTEMPT = {
    "result": (attempt_result.AttemptResult, "write", ALWAYS),
    "result file": (attempt_result, "write_durably", ALWAYS),
}
POINTS = [
    "after claim", "after mkdir", "after process started", "after process record", "after running", "after heartbeat",
    "before result", "after result file", "before verify", "after verify", "after placement record", "after rename",
    "after fsync of the place", "after commit", "after publish",
]  # fmt: skip
"""Each moment once: `before rename` would be `after placement record` again."""


def arm(point: str, places: dict[str, tuple[Any, str, Callable[..., bool]]]) -> None:
    """Have this process die at the point, if that is one of these places."""
    when, _, what = point.partition(" ")
    if what not in places:
        return
    owner, name, applies = places[what]
    real = getattr(owner, name)

    def dying(*arguments: Any, **named: Any) -> Any:
        if not applies(*arguments, **named):
            return real(*arguments, **named)
        if when == "after":
            real(*arguments, **named)
        return os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, dying)


if __name__ == "__main__":
    home, job_id, point = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    os.environ[VARIABLE] = point
    arm(point, IN_WORKER)
    table = JobStore(home / "jobs.sqlite3", backoff=(0.0, 0.0, 0.0))
    local = LocalExecutor("dying_attempt")
    worker.Worker(table, lambda job: local, lease_seconds=2.0 if "heartbeat" in point else 300.0).run_job(job_id)
