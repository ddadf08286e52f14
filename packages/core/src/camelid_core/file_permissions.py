"""File permissions: Camelid's home and the files in it that hold what people wrote are private to their owner.

Knows modes of directories and files. Knows nothing of what they hold. What is published may be shared, as far as the
umask of the process that made it allows.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

from .durable_directories import make_directory
from .paths import home

PRIVATE_DIRECTORY_MODE, PRIVATE_FILE_MODE = 0o700, 0o600
_OTHERS, _FILES = 0o077, 0o666


def make_private_directory(path: Path, top: Path | None = None) -> Path:
    """Make the directory `path`, durably. Its parts inside `top` (by default home, itself included) are private to
    their owner, whatever the umask is."""
    top = home() if top is None else top
    inside = [each for each in (path, *path.parents) if each.is_relative_to(top)]
    make_directory(inside[-1].parent if inside else path)
    for each in reversed(inside):
        make_directory(each, PRIVATE_DIRECTORY_MODE)
    if inside:
        restrict_to_owner(top)
    return path


def restrict_to_owner(directory: Path) -> None:
    """Remove the permissions of group and others if `directory` is there, ours and not sticky; report it on stderr."""
    with suppress(OSError):
        found = directory.stat()
        mode = stat.S_IMODE(found.st_mode)
        if found.st_uid != os.geteuid() or not mode & _OTHERS or mode & stat.S_ISVTX:
            return
        directory.chmod(mode & ~_OTHERS)
        if not directory.stat().st_mode & _OTHERS:  # there are file systems that know no modes
            sys.stderr.write(
                f"camelid: {str(directory)!r} was open to others on this machine; now it is yours alone.\n"
            )


def inherit_directory_permissions(directory: Path) -> None:
    """Give every file below `directory` the read and write bits of the directory it is in: safetensors creates its
    files private to their owner, whatever the umask is."""
    for folder, _, names in os.walk(directory):
        allowed = Path(folder).stat().st_mode & _FILES
        for path in (Path(folder) / name for name in names):
            with suppress(OSError):  # some file systems let nobody change a mode
                if not path.is_symlink():  # what it leads to is not published
                    path.chmod(stat.S_IMODE(path.stat().st_mode) | allowed)


def open_private(path: Path, mode: str, buffering: int = -1) -> BinaryIO:
    """As `open` for bytes; a file that it creates is private to its owner."""
    return cast("BinaryIO", open(path, mode, buffering, opener=_opener))


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, PRIVATE_FILE_MODE)
