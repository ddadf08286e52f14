"""Which files of an attempt travel: what it keeps to be resumed from, and what grows while people watch it.

Knows the names in an attempt's directory. Knows nothing of what is in them.

A file that ends in `.jsonl`, or is a log, grows at its end and travels as it grows. All others travel when complete.
What the worker of one machine writes for itself, such as the process to kill, stays there.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from camelid_core.jobs.run_directories import LOG, OUTPUT, PLACEMENT, RESULT

_OWN = {RESULT, PLACEMENT, OUTPUT, "process.json"}
_STAGED = re.compile(r"\..+\.[0-9a-f]{16}\.partial|.+\.tmp", re.DOTALL)


def travels(name: str) -> bool:
    """Whether a file of this relative path is the task's, and neither the worker's own nor half-written."""
    parts = PurePosixPath(name).parts
    return bool(parts) and parts[0] not in _OWN and not any(_STAGED.fullmatch(part) for part in parts)


def grows(name: str) -> bool:
    return travels(name) and (name.endswith(".jsonl") or PurePosixPath(name).name == LOG)


def is_kept(name: str) -> bool:
    """Whether it travels whole, as checkpoints do."""
    return travels(name) and not grows(name)
