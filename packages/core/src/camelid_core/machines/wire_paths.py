"""Paths that came over the network: only what lies below a directory, under names that every system has.

Knows names. Opens nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

from camelid_core.errors import JobError, shortened

_PART = re.compile(r"[^/\\\x00-\x1f]{1,255}")
_MAX_DEPTH = 16


def path_below(directory: Path, name: str) -> Path:
    """`name`, as `checkpoints/step-2/weights.safetensors`, below `directory`, which nothing in it leads out of.

    Raises:
        JobError: absolute, with `..` in it, or through a link.
    """
    parts = name.split("/")
    if len(parts) > _MAX_DEPTH or any(part in (".", "..") or not _PART.fullmatch(part) for part in parts):
        raise JobError(f"{shortened(name)!r} is no path below a job's directory; nothing was read or written.")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise JobError(f"{shortened(name)!r} has half a character; nothing was read or written.") from None
    path = directory
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise JobError(f"{shortened(name)!r} leads through a link; nothing was read or written.")
    return path
