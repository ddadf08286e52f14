"""Directories whose names outlive a power cut: a new directory, like a renamed file, is safe once its parent is synced.

Knows names and fsync. Knows nothing of what directories hold.
"""

from __future__ import annotations

import os
from pathlib import Path


def fsync_directory(directory: Path) -> None:
    """Make what was created, renamed or deleted inside `directory` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path, mode: int = 0o777) -> None:
    """Make `path` and its missing parents, and their names durable; one that exists is left as it is. `mode` is that
    of `path` alone."""
    if path.is_dir():
        return
    if not path.parent.is_dir():
        make_directory(path.parent)
    path.mkdir(mode, exist_ok=True)  # another process may have been first; its name must be durable all the same
    fsync_directory(path.parent)
