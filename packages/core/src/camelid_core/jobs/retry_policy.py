"""After which errors a job is tried again by itself, and how often: only where another attempt may end otherwise.

A configuration error, a loss that is no number, bad data and a lack of memory would come again; a full disk pauses a
job until a person has freed some. Knows kinds of errors. Knows nothing of the table.
"""

from __future__ import annotations

from .job import Job

_RETRIES = {"lost": 3, "connection": 3, "accelerator": 1}
_SIGNAL = "killed_by_signal_"
_AFTER_SIGNALS = 1
"""A signal may come from outside, once; a library that crashes would do so again."""


def retries_after(kind: str) -> int:
    """How often a job is tried again by itself after errors of this kind."""
    return _AFTER_SIGNALS if kind.startswith(_SIGNAL) else _RETRIES.get(kind, 0)


def may_be_tried_again(job: Job, kind: str) -> bool:
    """Whether the job has a retry left; all kinds of errors count together."""
    return job.retries < retries_after(kind)


def attempts_so_far(job: Job) -> str:
    """`attempt 2 of 4` of a job that waits for a retry; empty for others."""
    most = retries_after(job.error_kind)
    return f"attempt {job.retries + 1} of {most + 1}" if job.retries and most else ""
