"""The handle of an attempt that a cluster runs, whatever cluster it is.

Knows beats, the result file and how long a cluster may be silent. Knows nothing of any cluster's own interface: a
`ClusterJob` does.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal, Protocol

from camelid_core.errors import CamelidError, JobError

from .attempt_result import AttemptResult, ExitCode, Outcome
from .detached import SIGNAL_BASE
from .detached_order import Beats, last_request
from .process_identity import ProcessIdentity

_ASK_SECONDS = 1.0
_KILL_SECONDS = 30.0
SILENCE_SECONDS = 60.0


class ClusterUnreachable(JobError):
    """The cluster does not answer. It may do so again."""


class ClusterJob(Protocol):
    """One submitted attempt, as its cluster knows it."""

    @property
    def identity(self) -> str:
        """Where it is, in words for people."""

    def exit_code(self) -> int | None:
        """None while it waits or runs; 128 + n where signal n ended it. One that the cluster has lost is FENCED (75).

        Raises:
            ClusterUnreachable: the cluster does not answer.
        """

    def end(self) -> None:
        """Have the cluster kill it; returns at once. Raises ClusterUnreachable."""


class DetachedHandle:
    """An `AttemptHandle`. The attempt outlives the worker: another one attaches itself to it by the same directory.

    A cluster that is silent for `silence_seconds` has lost it, unless its result is there.
    """

    outlives_worker = True

    def __init__(self, job: ClusterJob, directory: Path, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._job = job
        self._directory = directory
        self._silence_seconds = silence_seconds
        self._beats = Beats(directory)
        self._asked = float("-inf")
        self._heard = time.monotonic()
        self._code: int | None = None

    @property
    def identity(self) -> str:
        return self._job.identity

    def beat(self) -> None:
        """Show the attempt that it is watched; to be called before it can begin."""
        self._beats.keep()

    def poll(self) -> int | None:
        if self._code is None:
            self.beat()
            if time.monotonic() - self._asked >= _ASK_SECONDS:
                self._code = self._ask()
                self._asked = time.monotonic()
        return self._code

    def request_stop(self, stop: Literal["finish", "save"]) -> None:
        self._beats.request(stop)

    def kill(self) -> None:
        end_detached(self._job, self._directory, self._code is None)

    def _ask(self) -> int | None:
        try:
            code = self._job.exit_code()
        except CamelidError:  # a token that it no longer takes, too
            if time.monotonic() - self._heard < self._silence_seconds:
                return None
            code = ExitCode.FENCED
        self._heard = time.monotonic()
        if code == ExitCode.FENCED and AttemptResult.read(self._directory) is None:
            lost = f"The cluster has lost it: {self._job.identity}."
            AttemptResult(Outcome.FENCED, lost).write(self._directory)  # should it end after all, its own replaces this
        return code if code is None or code <= SIGNAL_BASE else SIGNAL_BASE - code


def may_run(directory: Path) -> bool:
    """Whether the attempt may run still: it has left no result, or its cluster had lost it and may have found it."""
    result = AttemptResult.read(directory)
    return result is None or result.how == Outcome.FENCED


def can_attach(job: ClusterJob, directory: Path) -> bool:
    """Whether a worker can go on with the attempt: it runs, and was not asked for anything. One on a cluster that had
    lost it and is still silent is given up: should it run, it leaves by itself, and its result counts no more.

    Raises:
        ClusterUnreachable: whether it runs is not known.
    """
    if last_request(directory) or not may_run(directory):
        return False
    try:
        return job.exit_code() is None
    except ClusterUnreachable:
        if AttemptResult.read(directory) is None:
            raise
        return False


def end_detached(job: ClusterJob, directory: Path, runs: bool = True) -> None:
    """Kill an attempt: ask it to leave, have the cluster kill it, and what of it runs on this machine; wait for its
    end, at most 30 s. One on a cluster that does not answer leaves as soon as it reads that it is to."""
    if runs:
        Beats(directory).request("leave")
        deadline = time.monotonic() + _KILL_SECONDS
        try:
            if job.exit_code() is None:
                job.end()
            while job.exit_code() is None and time.monotonic() < deadline:
                time.sleep(0.2)
        except CamelidError:
            pass
    identity = ProcessIdentity.read(directory)
    if identity is not None:
        identity.kill()
