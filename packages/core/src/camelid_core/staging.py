"""Drafts: files and directories that get their name once they are whole, and what a kill leaves of them.

A draft lies beside its target as `.NAME.HEX.partial`, and its writer holds a lock on it. The system lets go of the
lock however the writer ends, so a draft that nobody holds is nobody's: the next one made there takes it away, and
`sweep_below` takes all of them. How old a draft is says nothing. Where locks are not to be had nothing is swept.
Knows names and locks. Knows nothing of what drafts hold, and never follows a link.
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

_STAGING_NAME = re.compile(r"\..+\.[0-9a-f]{16}\.partial", re.DOTALL)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_WORTH_A_LINE = 100_000_000
"""Bytes from which a person may have missed the room."""


@contextmanager
def directory(target: Path, mode: int = 0o777) -> Iterator[Path]:
    """A new directory beside `target`, to be renamed to it. If it was not by the end, it is gone."""

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
    """An empty file beside `target`, to be renamed to it. If it was not by the end, it is gone."""
    with _staged(target, lambda path: os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)) as path:
        yield path


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A directory for this process alone, where the system keeps what is temporary."""
    with directory(Path(tempfile.gettempdir()) / name, 0o700) as path:
        yield path


@contextmanager
def set_aside(target: Path) -> Iterator[Path]:
    """Move a directory out of everyone's sight. If it was not moved back by the end, it is gone."""
    held = os.open(target, _DIRECTORY)
    try:
        with suppress(OSError):  # whoever else holds it keeps it from being swept just as well
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        sweep(target.parent)
        path = target.rename(_staging_name(target))
        try:
            yield path
        finally:
            _remove(path)
    finally:
        os.close(held)


def sweep(place: Path) -> None:
    """Delete the drafts in a directory whose writers are no more."""
    freed = sum(map(discard_if_dead, _staging_paths(place)))
    if freed >= _WORTH_A_LINE:
        sys.stderr.write(f"camelid: {freed / 1e9:.1f} GB that a killed process left in {str(place)!r} are gone.\n")


def sweep_below(top: Path) -> None:
    """Do that in `top` and in every directory below."""
    for place, names, _ in os.walk(top):
        sweep(Path(place))
        names[:] = [name for name in names if not _STAGING_NAME.fullmatch(name)]


def discard_if_dead(path: Path) -> int:
    """Delete a file or directory unless somebody holds a lock on it. Returns the bytes it had."""
    with suppress(OSError):  # locked, gone meanwhile, somebody else's, or no locks are to be had here
        kind = stat.S_IFMT(path.lstat().st_mode)
        if kind not in (stat.S_IFREG, stat.S_IFDIR):
            return 0
        access = os.O_RDONLY if kind == stat.S_IFDIR else os.O_RDWR  # some file systems lock only what can be written
        held = os.open(path, access | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(path.lstat(), os.fstat(held)):  # and was not renamed since it was found
                size = _size(path)
                _remove(path)
                return size
        finally:
            os.close(held)
    return 0


@contextmanager
def _staged(target: Path, make: Callable[[Path], int | None]) -> Iterator[Path]:
    sweep(target.parent)
    path, held = _create_locked(target, make)
    try:
        yield path
    finally:
        _remove(path)
        os.close(held)


def _create_locked(target: Path, make: Callable[[Path], int | None]) -> tuple[Path, int]:
    """A new draft and what holds its lock. One that was swept before it was locked is followed by another."""
    while True:
        path = _staging_name(target)
        held = make(path)
        if held is None:
            continue
        with suppress(OSError):  # no locks are to be had here: then nobody sweeps here, either
            fcntl.flock(held, fcntl.LOCK_EX)
        if os.path.lexists(path):
            return path, held
        os.close(held)


def _staging_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(8)}.partial")


def _staging_paths(place: Path) -> list[Path]:
    try:
        with os.scandir(place) as entries:
            return [Path(entry.path) for entry in entries if _STAGING_NAME.fullmatch(entry.name)]
    except OSError:  # not there, or not ours to read
        return []


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [Path(place) / name for place, _, names in os.walk(path) for name in names]
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
