"""The result of an attempt, as a file and an exit code, and which exception means which outcome.

Knows both sides of that file: the attempt writes it, the worker reads it. Knows nothing of the
job table.
"""

from __future__ import annotations

import errno
import json
import os
import re
import signal
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any, Self

from camelid_core.errors import CamelidError, DiskFull, PluginError
from camelid_core.integrity import write_durably

from .connection_errors import is_connection_error
from .run_directories import LOG, RESULT


class Outcome(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DISK_FULL = "disk_full"
    SAVED = "saved"
    FENCED = "fenced"
    KILLED = "killed"


class ExitCode(IntEnum):
    """Exit codes of an attempt; they carry the outcome where a full disk left no space for the file."""

    DONE = 0
    FAILED = 1
    DISK_FULL = 74
    FENCED = 75
    SAVED = 76


_EXIT_CODES = {
    Outcome.SUCCEEDED: ExitCode.DONE,
    Outcome.FAILED: ExitCode.FAILED,
    Outcome.DISK_FULL: ExitCode.DISK_FULL,
    Outcome.FENCED: ExitCode.FENCED,
    Outcome.SAVED: ExitCode.SAVED,
}
_DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DISK_FULL_TEXTS = tuple(os.strerror(code) for code in _DISK_FULL_ERRNOS)
_OUT_OF_MEMORY_ERRORS = ("MemoryError", "OutOfMemoryError")
_OUT_OF_MEMORY_TEXT = "can't allocate memory"
_OOM_KILLED = "The system ran out of memory and ended its process: take a smaller batch size, cutoff or model."
_SHELL_SIGNAL = 128
_SIGNAL_CAUSES: dict[int, str] = {
    signal.SIGKILL: "Most often the system ran out of memory: take a smaller batch size, cutoff or model.",
    signal.SIGSEGV: "A library of machine code crashed: the log may say which; another release of it may not.",
    signal.SIGBUS: "Most often /dev/shm is full, or a file that it reads was cut meanwhile.",
    signal.SIGABRT: "A library of machine code gave up: the log says why.",
    signal.SIGILL: "A library uses instructions that this processor does not have: install a release for it.",
}
_ACCELERATOR_ERRORS = ("AcceleratorError", "DeferredCudaCallError")
_ACCELERATOR_TEXTS = ("CUDA error", "HIP error", "NCCL error", "NVML")
_DISK_ADVICE = "The disk is full. Free some space first."


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """`how` an attempt ended; the field names are the keys of its file. `kind` is the job's `error_kind`."""

    how: Outcome
    message: str = ""
    kind: str = ""
    summary: Mapping[str, Any] = field(default_factory=dict)
    publish_to: str | None = None

    @classmethod
    def from_exception(cls, error: BaseException) -> Self:
        """The outcome and the message of the exception that ended an attempt; one that brings a result has its own."""
        if isinstance(brought := getattr(error, "attempt_result", None), cls):
            return brought
        chain = list(_exception_chain(error))
        if any(_is_disk_full(each) for each in chain):
            message = next((str(each) for each in chain if isinstance(each, DiskFull)), _DISK_ADVICE)
            return cls(Outcome.DISK_FULL, message, "disk_full")
        if any(_is_out_of_memory(each) for each in chain):
            message = f"Out of memory: {error}. Take a smaller batch size, a shorter cutoff or a smaller model."
            return cls(Outcome.FAILED, message, "out_of_memory")
        if any(is_connection_error(each) for each in chain):
            words = (
                str(error) if isinstance(error, CamelidError) else f"A server was not reached: {_first_line(error)}."
            )
            return cls(Outcome.FAILED, words, "connection")
        if isinstance(error, CamelidError):
            kind = PluginError if isinstance(error, PluginError) else type(error)
            return cls(Outcome.FAILED, str(error), _snake_case(kind.__name__))
        if any(_is_accelerator_error(each) for each in chain):
            return cls(Outcome.FAILED, f"The graphics card failed: {_first_line(error)}.", "accelerator")
        from camelid_core.plugin_faults import plugin_fault  # most attempts succeed, and start sooner without it

        if fault := plugin_fault(error):
            return cls(Outcome.FAILED, f"{fault} The log has the traceback.", "plugin_error")
        return cls(Outcome.FAILED, f"{_last_line(error)} (the log has the traceback)", "crash")

    @property
    def exit_code(self) -> int:
        return _EXIT_CODES[self.how]

    def write(self, directory: Path) -> None:
        write_durably(directory / RESULT, json.dumps(asdict(self), default=str).encode(), private=True)

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        try:
            values = json.loads((directory / RESULT).read_text(encoding="utf-8"))
            return cls(**values | {"how": Outcome(values["how"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    @classmethod
    def from_exit_code(cls, code: int, directory: Path, oom_killed: bool = False) -> Self:
        """The result of an attempt that left no file, from its exit code, the end of its log, and whether the kernel's
        OOM killer ended a process meanwhile."""
        if _SHELL_SIGNAL < code <= _SHELL_SIGNAL + signal.NSIG:  # as a shell or a container reports a signal
            code = _SHELL_SIGNAL - code
        if code == -signal.SIGKILL and oom_killed:
            return cls(Outcome.KILLED, _OOM_KILLED, "out_of_memory")
        if code < 0:
            return cls(Outcome.KILLED, _signal_message(-code), f"killed_by_signal_{-code}")
        if code == ExitCode.DISK_FULL:
            return cls(Outcome.DISK_FULL, _DISK_ADVICE, "disk_full")
        if code in (ExitCode.FENCED, ExitCode.SAVED):
            return cls(Outcome.FENCED if code == ExitCode.FENCED else Outcome.SAVED)
        last = last_lines(directory / LOG, 1)
        return cls(
            Outcome.FAILED, f"Its process ended with exit code {code} and no result. Last line: {last!r}.", "crash"
        )


def last_lines(log: Path, count: int, at_most: int = 64_000) -> str:
    """The last lines of a log, without reading the whole of it."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - at_most))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.rstrip().split("\n")[-count:])


def _signal_message(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = "unknown"
    sentence = f"Its process was ended by signal {number} ({name})."
    return f"{sentence} {_SIGNAL_CAUSES[number]}" if number in _SIGNAL_CAUSES else sentence


def _exception_chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_disk_full(error: BaseException) -> bool:
    # safetensors and torch report a full disk as errors of their own, with the system's words inside
    if isinstance(error, CamelidError):
        return isinstance(error, DiskFull)
    return (isinstance(error, OSError) and error.errno in _DISK_FULL_ERRNOS) or any(
        text in str(error) for text in _DISK_FULL_TEXTS
    )


def _is_out_of_memory(error: BaseException) -> bool:
    # torch's error is known by name, so that torch need not be imported
    return any(cls.__name__ in _OUT_OF_MEMORY_ERRORS for cls in type(error).__mro__) or _OUT_OF_MEMORY_TEXT in str(
        error
    )


def _is_accelerator_error(error: BaseException) -> bool:
    words = any(text in str(error) for text in _ACCELERATOR_TEXTS)
    return words or any(cls.__name__ in _ACCELERATOR_ERRORS for cls in type(error).__mro__)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


def _last_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
