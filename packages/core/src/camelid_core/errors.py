"""Every error Camelid raises on purpose.

    CamelidError
    ├── UsageError          what a person typed does not fit           (ValueError, exit code 2)
    │   └── ConfigError     a recipe or override                       (exit code 2)
    ├── UnknownName         nothing of that kind has that name         (LookupError, exit code 2)
    ├── PluginError         code of a plugin that failed               (RuntimeError)
    │   └── UnavailableName an unknown name that a broken plugin may have
    ├── DuplicateName       two plugins claim one name                 (ValueError)
    ├── DataError           a data file or record                      (ValueError)
    ├── TemplateError       messages that a template cannot render     (ValueError)
    ├── ModelError          weights, tokenizer or architecture         (ValueError)
    ├── ArtefactError       a directory that is not a sound artefact   (ValueError)
    │   └── UnsafeFormat    pickles and other formats that run code
    ├── TrainingError       a run that cannot go on                    (RuntimeError)
    │   ├── NanLoss         a loss or gradient that is no number
    │   └── PeerLost        another process of the run is gone
    ├── DiskFull            no space for what must be written          (RuntimeError)
    ├── JobError            a job that cannot do what was asked        (RuntimeError)
    │   ├── StaleAttempt    another attempt owns the job by now
    │   └── JobStopped      a person or the system stopped it          (exit code 130)
    └── MissingPackage      an optional package is not installed       (ImportError)

A message says what was given, what is allowed, and what to type next. The library raises;
only the command line and the pages turn errors into messages.
"""

from __future__ import annotations

from collections.abc import Iterable

_LONG = 200


class CamelidError(Exception):
    """Base of all; `exit_code` is what the command line returns for it."""

    exit_code = 1


class UsageError(CamelidError, ValueError):
    exit_code = 2


class ConfigError(UsageError):
    pass


class UnknownName(CamelidError, LookupError):
    exit_code = 2

    def __init__(self, kind: str, name: str, known: Iterable[str], listing: str = "") -> None:
        known = sorted(known)
        message = f"{kind} {shortened(name)!r} is not known.{did_you_mean(name, known)}"
        if listing:
            message += f" `{listing}` shows all {len(known)}."
        elif known:
            message += f" Known: {', '.join(known)}."
        super().__init__(message)


class PluginError(CamelidError, RuntimeError):
    pass


class UnavailableName(UnknownName, PluginError):
    """`reason` is a sentence on the plugins that are broken."""

    def __init__(self, kind: str, name: str, known: Iterable[str], listing: str = "", reason: str = "") -> None:
        super().__init__(kind, name, known, listing)
        self.args = (f"{self.args[0]} {reason} `camelid plugins doctor` says more.",)


class DuplicateName(CamelidError, ValueError):
    pass


class DataError(CamelidError, ValueError):
    """`kind` is one word for counting: not_json, no_text, ragged_row, dataset_empty …"""

    def __init__(self, message: str, kind: str = "data") -> None:
        super().__init__(message)
        self.kind = kind


class TemplateError(CamelidError, ValueError):
    pass


class ModelError(CamelidError, ValueError):
    pass


class ArtefactError(CamelidError, ValueError):
    pass


class UnsafeFormat(ArtefactError):
    pass


class TrainingError(CamelidError, RuntimeError):
    pass


class NanLoss(TrainingError):
    pass


class PeerLost(TrainingError):
    """What ended the other process is the cause, and this only what it did here."""


class DiskFull(CamelidError, RuntimeError):
    pass


class JobError(CamelidError, RuntimeError):
    pass


class StaleAttempt(JobError):
    pass


class JobStopped(JobError):
    exit_code = 130


class MissingPackage(CamelidError, ImportError):
    pass


def shortened(text: str) -> str:
    """`text` for a one-sentence message: of a long one only the beginning and the end."""
    return text if len(text) <= _LONG else f"{text[: _LONG - 21]}…{text[-20:]}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the nearest known name, or nothing."""
    import difflib  # every process imports this module, few name something wrong

    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""
