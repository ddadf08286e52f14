"""One attempt at a job: what runs in the child process.

    python -m camelid_core.jobs.attempt --home HOME JOB_ID EPOCH

Knows the task, the attempt's own directory, and how it is asked to stop. It writes nowhere else;
publishing is the worker's. Knows nothing of who supervises it: should that one die, the watchdog ends it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from camelid_core.config import validate
from camelid_core.events import EventLog
from camelid_core.tasks import Interrupted, Stop, Task

from .attempt_result import Exit, How, Result
from .job import ACTIVE, Job
from .publication import destination
from .run_directories import EVENTS, JOBS, OUTPUT, attempt_directory, earlier
from .store import JobStore
from .watchdog import Watchdog


class Tasks(Protocol):
    def __getitem__(self, name: str, /) -> Task: ...


class Context:
    """The `TaskContext` of a job's attempt. `name` is what a person called the job."""

    def __init__(self, directory: Path, name: str = "") -> None:
        self.name = name
        self._directory = directory
        self._events = EventLog(directory / EVENTS)
        self._stop: Stop = ""

    @property
    def directory(self) -> Path:
        return self._directory

    @property
    def output(self) -> Path:
        return self._directory / OUTPUT

    @property
    def earlier(self) -> tuple[Path, ...]:
        return earlier(self._directory)

    def emit(self, kind: str, **values: Any) -> None:
        self._events.emit(kind, **values)

    def stopping(self) -> Stop:
        return self._stop

    def ask(self, stop: Stop) -> None:
        """Saving outranks finishing."""
        if self._stop != "save" and stop:
            self._stop = stop

    def close(self) -> None:
        self._events.close()


def main(arguments: Sequence[str] | None = None, tasks: Callable[[], Tasks] | None = None) -> int:
    """Run the attempt; the exit code is one of `Exit`."""
    given = _parse(arguments)
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # before anything loads torch: 10 times on a busy machine
    os.environ["CAMELID_HOME"] = str(given.home)
    store = JobStore(given.home / JOBS)
    job = store.get(given.job)
    if job.epoch != given.epoch or job.state not in ACTIVE:
        return Exit.FENCED
    directory = attempt_directory(given.home, job.id, job.epoch)
    context = Context(directory, job.name)
    _listen(context)
    watchdog = Watchdog(store, job, context.ask)
    watchdog.start()
    result = _run(job, context, tasks or _installed)
    if watchdog.fenced and result.how == How.SAVED:
        result = Result(How.FENCED)
    watchdog.leaving(result.exit_code)
    _leave_word(result, directory)
    return result.exit_code


def _run(job: Job, context: Context, tasks: Callable[[], Tasks]) -> Result:
    try:
        task = tasks()[job.task]
        config = validate(task.load_config(), job.config, f"job {job.id}")
        target = destination(config)
        summary: Mapping[str, Any] = task.load_run()(config, context)
        context.close()
    except Interrupted:
        return Result(How.SAVED)
    except BaseException as error:  # SystemExit too: whatever ends the task, the worker must learn of it
        _tell()
        return Result.of(error)
    return Result(How.SUCCEEDED, summary=dict(summary), publish_to=str(target) if target else None)


def _leave_word(result: Result, directory: Path) -> None:
    try:
        result.write(directory)
    except OSError:
        _tell()  # a full disk, most likely; the exit code says as much


def _tell() -> None:
    with suppress(OSError):  # the log may lie on a full disk, too
        traceback.print_exc()


def _listen(context: Context) -> None:
    signal.signal(signal.SIGTERM, lambda *_: context.ask("save"))
    signal.signal(signal.SIGUSR1, lambda *_: context.ask("finish"))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGUSR1})


def _installed() -> Tasks:
    from camelid_core.plugins import load_host

    return load_host().tasks


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="camelid_core.jobs.attempt", description="Run one attempt at a job.")
    parser.add_argument("--home", type=Path, required=True, help="the directory that holds all state")
    parser.add_argument("job", type=int)
    parser.add_argument("epoch", type=int)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
