"""A home on a disk of its own that becomes full at one point: `full_disk_scenario.py HOME POINT`.

Prints one line of JSON: what was said, how the job stood while the disk was full and how it ended once there was room.
Run as an attempt's module it is a task that fills the disk itself.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from camelid_core.artefacts import Manifest, verify_directory, write_manifest
from camelid_core.config import Config
from camelid_core.errors import JobError
from camelid_core.jobs import attempt
from camelid_core.jobs.database import TableUnavailable
from camelid_core.jobs.executors import LocalExecutor
from camelid_core.jobs.job import ACTIVE, Job, JobState
from camelid_core.jobs.run_directories import home_of
from camelid_core.jobs.store import JobStore
from camelid_core.jobs.worker import Worker
from camelid_core.tasks import Task, TaskContext

BALLAST = "ballast"


class Filling(Config):
    point: str
    """Where the disk becomes full: `log`, `result` or elsewhere."""


def run(config: Filling, context: TaskContext) -> Mapping[str, Any]:
    home = home_of(context.directory)
    first = not (home / "not again").exists()
    (home / "not again").touch()
    context.output.mkdir()
    (context.output / "weights").write_bytes(b"w" * 10_000)
    write_manifest(context.output, Manifest(kind="evaluation"))
    if first and config.point == "log":
        fill(home, leave=200_000)
        for _ in range(100):
            print("x" * 10_000)
    if first and config.point == "result":
        fill(home)
    return {"first": first}


FILL = Task("fill", "Fill the disk.", "full_disk_scenario:Filling", "full_disk_scenario:run")


def fill(home: Path, leave: int = 0) -> None:
    (home / "last").write_bytes(bytes(leave))
    with (home / BALLAST).open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    (home / "last").unlink()


def main(home: Path, point: str) -> None:
    store = JobStore(home / "jobs.sqlite3")
    job = store.submit("fill", {"point": point}, "mine")
    said, while_full = "", ""
    executor = LocalExecutor("full_disk_scenario")

    def verify(directory: Path) -> object:
        if point == "publish" and not said:
            fill(home)
        return verify_directory(directory)

    worker = Worker(store, lambda _: executor, verify, lease_seconds=600)
    try:
        if point == "submit":
            fill(home)
            store.submit("fill", {"point": point})
        else:
            said = worker.run_job(job.id).error or "nothing"
    except JobError as error:
        said = str(error)
    full = JobStore(home / "jobs.sqlite3").get(job.id)  # it opens on a full disk, too
    while_full = f"{full.state} {full.error_kind}".strip()
    (home / BALLAST).unlink()
    ended = worked_off(store, worker, full)
    attempts = len(list((home / "runs" / f"{job.id:06d}").iterdir()))
    verify_directory(Path(ended.published))
    result = {"said": said, "while_full": while_full, "state": ended.state, "attempts": attempts}
    print(json.dumps(result | {"jobs": len(store.list()), "published": len(list((home / "artefacts").iterdir()))}))


def worked_off(store: JobStore, worker: Worker, job: Job) -> Job:
    """There is room again: what a person does, or what time does, and the next worker."""
    if job.state in ACTIVE:
        with store.database.write() as db:
            db.execute("UPDATE job SET lease = 0")
        store.sweep_lost()
    if store.get(job.id).state != JobState.QUEUED:
        store.retry(job.id)
    return worker.run_job(job.id)


if __name__ == "__main__":
    if "--home" in sys.argv:
        sys.exit(attempt.main(tasks=lambda: {"fill": FILL}))
    with suppress(TableUnavailable):
        main(Path(sys.argv[1]), sys.argv[2])
