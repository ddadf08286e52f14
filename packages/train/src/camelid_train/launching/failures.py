"""Which of several failed processes failed first, and its error as one process would have raised it.

Knows the result files of processes, and the errors of those that only lost a peer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from camelid_core import errors
from camelid_core.errors import CamelidError, PeerLost, TrainingError
from camelid_core.jobs.attempt_result import AttemptResult, Outcome, last_lines
from camelid_core.jobs.groups import PEER_LOST
from camelid_core.jobs.run_directories import RESULT

from .rank_logs import rank_log

_SIGTERM = -15
_PEER_WORDS = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "broken pipe", "tcpstore")
_PORT_TAKEN = "EADDRINUSE"
_LINES = 3


def is_lost_peer(error: BaseException) -> bool:
    words = str(error).lower()
    mro = {cls.__name__ for cls in type(error).__mro__}
    return "DistError" in mro or (
        isinstance(error, RuntimeError | OSError) and any(each in words for each in _PEER_WORDS)
    )


def first_error(error: BaseException, ranks: Path, processes: int) -> BaseException:
    """What to raise for a launch that ended in `error`."""
    failures: dict[int, Any] = getattr(error, "failures", None) or {}
    if not failures:
        return _start_error(error)
    by_number = {failure.local_rank: failure.exitcode for failure in failures.values()}
    number = min(by_number, key=lambda each: _blame_order(ranks / str(each), by_number[each]))
    result = AttemptResult.read(ranks / str(number))
    if result is not None and result.kind != PEER_LOST:
        return _as_exception(result, number, processes)
    if result is not None:
        return PeerLost(f"the connection to another process broke, and nothing says why. {result.message}")
    return TrainingError(_death_message(ranks, number, by_number[number], processes))


def _start_error(error: BaseException) -> BaseException:
    if isinstance(error, CamelidError):
        return error
    missing = is_lost_peer(error) and _PORT_TAKEN not in str(error)
    return (PeerLost if missing else TrainingError)(f"the processes did not start: {error}.")


def _blame_order(directory: Path, code: int) -> tuple[int, float]:
    """The first in this order is the cause: an error of its own, the earliest; a signal from outside; a lost peer."""
    result = AttemptResult.read(directory)
    if result is not None and result.kind != PEER_LOST:
        return 0, (directory / RESULT).stat().st_mtime
    if result is None and code != _SIGTERM:
        return 1, 0.0
    return (2 if result is not None else 3), 0.0


def _as_exception(result: AttemptResult, number: int, processes: int) -> BaseException:
    if result.how == Outcome.DISK_FULL:
        return errors.DiskFull(result.message)
    if result.kind == "out_of_memory":
        return MemoryError(f"in process {number} of {processes}")
    known = {AttemptResult.from_exception(cls("")).kind: cls for cls in _message_only_errors()}
    cls = known.get(result.kind, TrainingError)
    message = result.message if result.kind in known else f"process {number} of {processes}: {result.message}"
    return cls(message)


def _message_only_errors() -> list[type[CamelidError]]:
    """The error classes that take a message alone."""
    found = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, CamelidError)]
    return [each for each in found if "__init__" not in vars(each)] + [errors.DataError]


def _death_message(ranks: Path, number: int, code: int, processes: int) -> str:
    text = AttemptResult.from_exit_code(code, ranks / str(number)).message
    log = rank_log(ranks, number)
    last = last_lines(log, _LINES).strip()
    words = f" It said last: {last!r}." if last else ""
    return f"process {number} of {processes} is gone, so the others were ended. {text}{words} Its log: {str(log)!r}."
