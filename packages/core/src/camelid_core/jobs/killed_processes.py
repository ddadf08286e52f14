"""The true cause of an attempt whose own words only say that one of its processes is gone.

The process that the OOM killer ended is often not the attempt itself: it is a rank of a launch, or one that loads data,
and what is left reports a lost peer. Knows what such reports say. Knows nothing of processes.
"""

from __future__ import annotations

import re
from dataclasses import replace

from .attempt_result import AttemptResult, Outcome

OUT_OF_MEMORY = "out_of_memory"
_KILLED = re.compile(
    r"SIGKILL|\bsignal:? (9|Killed)\b|\bexit ?code:? (-9|137)\b|terminated abruptly|exited unexpectedly",
    re.IGNORECASE,
)
_BY_SIGNAL = re.compile(r"was ended by signal (\d+) \(SIG")
_CAUSE = "The system ran out of memory and ended one of its processes: take a smaller batch size, cutoff or model."


def true_cause(result: AttemptResult, oom_killed: bool) -> AttemptResult:
    """`result`, with a lack of memory as its cause where the kernel ended a process while it ran and it says that one
    was killed; else with the signal that ended one, where it names that."""
    if result.how != Outcome.FAILED:
        return result
    if oom_killed and _KILLED.search(result.message):
        return replace(result, message=f"{_CAUSE} It said: {result.message}", kind=OUT_OF_MEMORY)
    by_signal = _BY_SIGNAL.search(result.message)
    return replace(result, kind=f"killed_by_signal_{by_signal[1]}") if by_signal else result
