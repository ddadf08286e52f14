"""One attempt at a job: what runs in the child process.

    python -m camelid_core.jobs.attempt --home HOME JOB_ID EPOCH

Knows the task, the attempt's own directory, and how it is asked to stop. It writes nowhere else;
publishing is the worker's. Knows nothing of the worker that supervises it: if that dies, the watchdog ends the attempt.
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

from camelid_core.events import EventLog
from camelid_core.tasks import Interrupted, StopRequest, Task

from .attempt_result import AttemptResult, ExitCode, Outcome
from .detached_order import BeatenLease
from .job import ACTIVE, Job
from .publication import destination
from .run_directories import EVENTS, JOBS_DATABASE, OUTPUT, attempt_directory, earlier_attempts
from .store import JobStore
from .watchdog import Watchdog


class TaskRegistry(Protocol):
    def __getitem__(self, name: str, /) -> Task: ...


class AttemptContext:
    """The `TaskContext` of a job's attempt. `name` is the job's name; `leading` the directory of its leader's attempt,
    where it is a member of a group: node 0 saves for all."""

    def __init__(self, directory: Path, name: str = "", leading: Path | None = None) -> None:
        self.name = name
        self._directory = directory
        self._leading = leading or directory
        self._events = EventLog(directory / EVENTS)
        self._stop: StopRequest = ""

    @property
    def directory(self) -> Path:
        return self._directory

    @property
    def output(self) -> Path:
        return self._directory / OUTPUT

    @property
    def earlier_attempts(self) -> tuple[Path, ...]:
        return earlier_attempts(self._leading)

    def emit(self, kind: str, **values: Any) -> None:
        self._events.emit(kind, **values)

    def stop_requested(self) -> StopRequest:
        return self._stop

    def request_stop(self, stop: StopRequest) -> None:
        """Called by signal handlers and the watchdog. `save` outranks `finish`."""
        if self._stop != "save" and stop:
            self._stop = stop

    def close(self) -> None:
        self._events.close()


def main(arguments: Sequence[str] | None = None, tasks: Callable[[], TaskRegistry] | None = None) -> int:
    """Run the attempt; the exit code is one of `ExitCode`."""
    options = _parse(arguments)
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # before anything loads torch: up to 10 times faster on a busy machine
    os.environ["CAMELID_HOME"] = str(options.home)
    directory = attempt_directory(options.home, options.job, options.epoch)
    store = BeatenLease(directory) if options.detached else JobStore(options.home / JOBS_DATABASE)
    job = store.get(options.job)
    if job.epoch != options.epoch or job.state not in ACTIVE:
        return ExitCode.FENCED
    context = AttemptContext(directory, job.name, attempt_directory(options.home, job.leader or job.id, job.epoch))
    _install_signal_handlers(context)
    watchdog = Watchdog(store, job, context.request_stop)
    watchdog.start()
    result = _run(job, context, tasks or _installed_tasks)
    if watchdog.fenced and result.how == Outcome.SAVED:
        result = AttemptResult(Outcome.FENCED)
    watchdog.task_ended(result.exit_code)
    return _write_result(result, directory)


def _run(job: Job, context: AttemptContext, tasks: Callable[[], TaskRegistry]) -> AttemptResult:
    try:
        from camelid_core.config import validate  # by now the watchdog runs: pydantic may take its time

        task = tasks()[job.task]
        config = validate(task.load_config(), job.config, f"job {job.id}")
        target = None if job.leader else destination(config)
        summary: Mapping[str, Any] = task.load_run()(config, context)
        context.close()
    except Interrupted:
        return AttemptResult(Outcome.SAVED)
    except BaseException as error:  # SystemExit too: whatever ends the task must reach the worker
        _print_traceback()
        return AttemptResult.from_exception(error)
    return AttemptResult(Outcome.SUCCEEDED, summary=dict(summary), publish_to=str(target) if target else None)


def _write_result(result: AttemptResult, directory: Path) -> int:
    """The exit code: of the result, or of what kept it from being written, most likely a full disk."""
    try:
        result.write(directory)
    except OSError as error:
        _print_traceback()
        succeeded = result.how == Outcome.SUCCEEDED
        return AttemptResult.from_exception(error).exit_code if succeeded else result.exit_code
    return result.exit_code


def _print_traceback() -> None:
    with suppress(OSError):  # the log may lie on a full disk, too
        traceback.print_exc()


def _install_signal_handlers(context: AttemptContext) -> None:
    signal.signal(signal.SIGTERM, lambda *_: context.request_stop("save"))
    signal.signal(signal.SIGUSR1, lambda *_: context.request_stop("finish"))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGUSR1})


def _installed_tasks() -> TaskRegistry:
    from camelid_core.plugins import load_host

    host = load_host()
    if host.exclusion:
        sys.stderr.write(f"{host.exclusion}: these plugins are left out: {', '.join(host.excluded) or 'none'}.\n")
    host.announce(lambda problem: sys.stderr.write(f"plugin {problem.plugin}: {problem.message}\n"))
    return host.tasks


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="camelid_core.jobs.attempt", description="Run one attempt at a job.")
    parser.add_argument("--home", type=Path, required=True, help="the directory that holds all state")
    parser.add_argument("--detached", action="store_true", help="the job is in the attempt's directory, not in a table")
    parser.add_argument("job", type=int)
    parser.add_argument("epoch", type=int)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
