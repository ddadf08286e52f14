"""Staging (atomic writes): files and directories that get their name only when complete, and cleaning up after kills.

A staged file or directory lies beside its target as `.NAME.HEX.partial`, and its writer holds a lock on it (`flock`).
The system releases the lock however the writer ends, so one without a lock is an orphan: the next staging in that
directory deletes it, and `sweep_below` deletes all of them. Age does not matter. Where a file system has no locks
nothing is swept. Knows names and locks. Knows nothing of what is staged, and never follows a link.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_STAGING_PATTERN = re.compile(r"\..+\.[0-9a-f]{16}\.partial", re.DOTALL)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_REPORT_BYTES = 100_000_000
"""Deleting this much or more is reported: somebody may have missed the space."""


@contextmanager
def directory(target: Path, mode: int = 0o777) -> Iterator[Path]:
    """A new directory beside `target`, to be renamed to it. If it was not renamed by the end, it is deleted."""

    def make(path: Path) -> int | None:
        path.mkdir(mode)
        try:
            return os.open(path, _DIRECTORY)
        except FileNotFoundError:  # swept already
            return None

    with _staged(target, make) as path:
        yield path


@contextmanager
def file(target: Path, mode: int = 0o666) -> Iterator[Path]:
    """An empty file beside `target`, to be renamed to it. If it was not renamed by the end, it is deleted."""
    with _staged(target, lambda path: os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)) as path:
        yield path


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A temporary directory for this process alone, below the system's own."""
    with directory(Path(tempfile.gettempdir()) / name, 0o700) as path:
        yield path


@contextmanager
def set_aside(target: Path) -> Iterator[Path]:
    """Move a directory away to be deleted. If it was not moved back by the end, it is deleted."""
    descriptor = os.open(target, _DIRECTORY)
    try:
        with suppress(OSError):  # another process's lock keeps it from being swept just as well
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        sweep(target.parent)
        path = target.rename(_staging_name(target))
        try:
            yield path
        finally:
            _remove(path)
    finally:
        os.close(descriptor)


def sweep(parent: Path) -> None:
    """Delete what dead writers left staged in a directory."""
    freed = sum(map(discard_if_dead, _staging_paths(parent)))
    if freed >= _REPORT_BYTES:
        sys.stderr.write(f"camelid: {freed / 1e9:.1f} GB that a killed process left in {str(parent)!r} are gone.\n")


def sweep_below(top: Path) -> None:
    """`sweep` in `top` and in every directory below."""
    for folder, names, _ in os.walk(top):
        sweep(Path(folder))
        names[:] = [name for name in names if not _STAGING_PATTERN.fullmatch(name)]


def discard_if_dead(path: Path) -> int:
    """Delete a file or directory unless a process holds a lock on it. Returns the bytes it had."""
    with suppress(OSError):  # locked, gone meanwhile, somebody else's, or the file system has no locks
        kind = stat.S_IFMT(path.lstat().st_mode)
        if kind not in (stat.S_IFREG, stat.S_IFDIR):
            return 0
        access = os.O_RDONLY if kind == stat.S_IFDIR else os.O_RDWR  # some file systems lock only what can be written
        descriptor = os.open(path, access | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(path.lstat(), os.fstat(descriptor)):  # and was not renamed since it was found
                size = _size(path)
                _remove(path)
                return size
        finally:
            os.close(descriptor)
    return 0


@contextmanager
def _staged(target: Path, make: Callable[[Path], int | None]) -> Iterator[Path]:
    sweep(target.parent)
    path, descriptor = _create_locked(target, make)
    try:
        yield path
    finally:
        _remove(path)
        os.close(descriptor)


def _create_locked(target: Path, make: Callable[[Path], int | None]) -> tuple[Path, int]:
    """A new staged file or directory and the descriptor that holds its lock; again if it was swept before the lock."""
    while True:
        path = _staging_name(target)
        descriptor = make(path)
        if descriptor is None:
            continue
        with suppress(OSError):  # a file system without locks: nothing is swept there, either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.path.lexists(path):
            return path, descriptor
        os.close(descriptor)


def _staging_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(8)}.partial")


def _staging_paths(parent: Path) -> list[Path]:
    try:
        with os.scandir(parent) as entries:
            return [Path(entry.path) for entry in entries if _STAGING_PATTERN.fullmatch(entry.name)]
    except OSError:  # not there, or not ours to read
        return []


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [Path(folder) / name for folder, _, names in os.walk(path) for name in names]
    size = 0
    for each in files:
        with suppress(OSError):
            size += each.lstat().st_size
    return size


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
