"""Running a job in the foreground of a command, and starting a background worker if there is none.

Knows how a command submits a job and waits for it. Knows nothing of any task.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from camelid_core.config import Config
from camelid_core.file_permissions import open_private
from camelid_core.paths import home as default_home
from camelid_core.subprocesses import module_command, safe_environment

from .job import Job
from .job_needs import needs_of
from .presence import reserve_worker_start
from .rendezvous import refuse_alone
from .run_directories import JOBS_DATABASE
from .stop_signals import StopSignal, stop_on_signals
from .store import JobStore
from .supervision import OnEvent
from .this_machine import this_machine
from .worker import Worker

_RESERVED_SECONDS = 10.0


def open_store(home: Path | None = None) -> JobStore:
    """The job table of a home directory, created where there is none."""
    return JobStore((home or default_home()) / JOBS_DATABASE)


def run_in_foreground(
    task: str,
    config: Config | Mapping[str, Any],
    name: str = "",
    on_event: OnEvent | None = None,
    home: Path | None = None,
    on_queued: Callable[[JobStore, Job], object] = lambda store, job: None,
) -> Job:
    """Submit a job, run it here, and return it once it has ended.

    It is a job like any other: listed, logged, and resumed by a worker should this process die.
    Ctrl-C once saves and cancels (`job.error` says how to resume), as does closing the terminal; Ctrl-C
    twice kills it at once. `on_queued` is called before it begins.

    Raises:
        UsageError: it needs several machines at a time.
    """
    store = open_store(home)
    values = config.model_dump(mode="json") if isinstance(config, Config) else config
    refuse_alone(values)
    job = store.submit(task, values, name, hold_seconds=_RESERVED_SECONDS, needs=needs_of(store, task, values))
    on_queued(store, job)
    return run_queued_job(store, job.id, on_event)


def run_queued_job(store: JobStore, job_id: int, on_event: OnEvent | None = None) -> Job:
    """Run a queued job here, with its events going to `on_event`."""
    with stop_on_signals(StopSignal()) as stop:
        return Worker(store, machine=this_machine()).run_job(job_id, on_event, stop)


def ensure_worker(home: Path | None = None) -> bool:
    """Start a worker that outlives this process, unless one is alive; True if one was started."""
    store = open_store(home)
    if not reserve_worker_start(store):
        return False
    directory = store.path.parent
    with open_private(directory / "worker.log", "ab") as log:
        process = subprocess.Popen(
            module_command("camelid_core.cli", "worker"),
            cwd=directory,
            env=safe_environment(os.environ) | {"CAMELID_HOME": str(directory)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    threading.Thread(target=process.wait, name="reap worker", daemon=True).start()  # no zombie when it ends first
    return True
