"""Executors: where an attempt runs. The protocol, and the local child process.

Knows how to start, signal and kill a process. Knows nothing of job states or of what the attempt does.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Protocol, runtime_checkable

from camelid_core.file_permissions import open_private
from camelid_core.subprocesses import child_environment, module_command, variables_with_credentials

from .job import Job
from .process_identity import ATTEMPT_VARIABLE, ProcessIdentity, new_mark
from .run_directories import LOG, home_of
from .this_machine import VISIBLE

_BLOCKED_SIGNALS = {signal.SIGTERM, signal.SIGUSR1}


class AttemptHandle(Protocol):
    """One started attempt. One whose attribute `outlives_worker` is true goes on when its worker stops or dies, and the
    next worker attaches itself to it."""

    @property
    def identity(self) -> str:
        """Where it runs, in words for people."""

    def poll(self) -> int | None:
        """Its exit code (negative: the signal that ended it), or None while it runs."""

    def request_stop(self, stop: Literal["finish", "save"]) -> None:
        """Ask it to finish early with its result, or to save and exit."""

    def kill(self) -> None:
        """Kill it and all processes it started, at once; harmless when nothing is left."""


class Executor(Protocol):
    """A place to run attempts. `name` is what a recipe says in `[launch] executor`."""

    @property
    def name(self) -> str: ...

    def start(self, job: Job, directory: Path) -> AttemptHandle:
        """Start the claimed job's attempt in `directory`, which exists and is empty."""

    def kill_leftovers(self, directory: Path) -> None:
        """Kill whatever an earlier attempt, whose directory this is, left running."""


@runtime_checkable
class AttachesAttempts(Protocol):
    """An executor whose attempts outlive their worker."""

    def attach(self, job: Job, directory: Path) -> AttemptHandle | None:
        """The attempt in `directory`, if an earlier worker started it and it still runs: the job goes on with it.
        None where it has ended or was asked to stop."""


class LocalExecutor:
    """A child process in a session of its own: it outlives neither its lease nor a cancellation.

    `module` is what `python -m` runs; tests pass a module with their own tasks. `variables` are environment variables
    of the attempt beside those it always has.
    """

    name = "local"

    def __init__(
        self, module: str = "camelid_core.jobs.attempt", variables: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._module = module
        self._variables = variables

    def with_variables(self, variables: Mapping[str, str]) -> LocalExecutor:
        return LocalExecutor(self._module, {**self._variables, **variables})

    def start(self, job: Job, directory: Path) -> AttemptHandle:
        home = home_of(directory)
        mark = new_mark(job.id, job.epoch)
        command = module_command(self._module, "--home", str(home), str(job.id), str(job.epoch))
        environment = child_environment(os.environ) | {"CAMELID_HOME": str(home), ATTEMPT_VARIABLE: mark}
        if job.assigned is not None and job.assigned.cards is not None:
            environment[VISIBLE] = ",".join(job.assigned.cards)
        environment |= self._variables
        # the child inherits the blocked signals and unblocks them once its handlers are installed: none gets lost
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED_SIGNALS)
        try:
            with open_private(directory / LOG, "ab") as log:
                log.write(_withheld_credentials_note(variables_with_credentials(os.environ)).encode())
                log.flush()
                process = subprocess.Popen(
                    command,
                    cwd=directory,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        handle = LocalAttemptHandle(process, ProcessIdentity.of(process.pid, mark))
        try:
            handle.record(directory)
        except BaseException:
            handle.kill()
            raise
        return handle

    def kill_leftovers(self, directory: Path) -> None:
        identity = ProcessIdentity.read(directory)
        if identity is not None:
            identity.kill()


class LocalAttemptHandle:
    def __init__(self, process: subprocess.Popen[bytes], identity: ProcessIdentity) -> None:
        self._process = process
        self._identity = identity

    @property
    def identity(self) -> str:
        return f"pid {self._process.pid}"

    def record(self, directory: Path) -> None:
        """Record the process, so that a later attempt can kill it."""
        self._identity.write(directory)

    def poll(self) -> int | None:
        return self._process.poll()

    def request_stop(self, stop: Literal["finish", "save"]) -> None:
        # only the child itself, not its group: it still needs its own subprocesses to save
        self._process.send_signal(signal.SIGUSR1 if stop == "finish" else signal.SIGTERM)

    def kill(self) -> None:
        self._identity.kill()
        self._process.wait()


def _withheld_credentials_note(withheld: Sequence[str]) -> str:
    """The first line of the log, if credentials were withheld from the attempt."""
    if not withheld:
        return ""
    return (
        f"Jobs are not given the user and the password in {', '.join(withheld)}. What can only be fetched with them, "
        "fetch before: `camelid datasets convert hf:ORG/NAME --out FILE` and `camelid models pull` use them.\n"
    )
