"""Free disk space, checked before writing. Knows bytes and file systems. Knows nothing of what is written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from camelid_core.errors import DiskFull

_RESERVE = 16_000_000
"""What else a run writes meanwhile: events, its log, the job table."""


def require(directory: Path, needed: int, what: str) -> None:
    """Raise DiskFull, with the bytes needed, if `directory` has no room for `needed` bytes."""
    free = shutil.disk_usage(directory).free
    if free < needed + _RESERVE:
        raise DiskFull(
            f"The disk is full: {what} needs {needed + _RESERVE:,} bytes and {str(directory)!r} has {free:,} left. "
            f"Free at least {needed + _RESERVE - free:,} bytes."
        )


def size_of(directory: Path) -> int:
    """Bytes of all files below."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


@contextmanager
def removed_on_failure(directory: Path) -> Iterator[None]:
    """Removes an unfinished directory: half a result helps nobody, and on a full disk its space does."""
    try:
        yield
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
