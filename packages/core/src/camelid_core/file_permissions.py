"""What is for its owner alone: Camelid's home, and the files in it that hold what people wrote.

Knows modes of directories and files. Knows nothing of what they hold. What is published is made to be shared, as far
as the umask of whoever made it says.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

from .paths import home

PRIVATE_DIRECTORY_MODE, PRIVATE_FILE_MODE = 0o700, 0o600
_OTHERS, _FILES = 0o077, 0o666


def make_private_directory(path: Path, top: Path | None = None) -> Path:
    """Make the directory `path`. What of it lies in `top`, by default home, `top` itself included, is for its owner
    alone, whatever the umask is."""
    top = home() if top is None else top
    inside = [each for each in (path, *path.parents) if each.is_relative_to(top)]
    (inside[-1].parent if inside else path).mkdir(parents=True, exist_ok=True)
    for each in reversed(inside):
        each.mkdir(PRIVATE_DIRECTORY_MODE, exist_ok=True)
    if inside:
        restrict_to_owner(top)
    return path


def restrict_to_owner(place: Path) -> None:
    """Take from others what they may do in `place`, if it is there, ours and no directory for everybody; say so."""
    with suppress(OSError):
        found = place.stat()
        mode = stat.S_IMODE(found.st_mode)
        if found.st_uid != os.geteuid() or not mode & _OTHERS or mode & stat.S_ISVTX:
            return
        place.chmod(mode & ~_OTHERS)
        if not place.stat().st_mode & _OTHERS:  # there are file systems that know no modes
            sys.stderr.write(f"camelid: {str(place)!r} was open to others on this machine; now it is yours alone.\n")


def inherit_directory_permissions(directory: Path) -> None:
    """Let whoever may look into `directory` read the files in it, and whoever may add to it write them: safetensors
    makes its own for their owner alone, whatever the umask is."""
    for folder, _, names in os.walk(directory):
        allowed = Path(folder).stat().st_mode & _FILES
        for path in (Path(folder) / name for name in names):
            with suppress(OSError):  # some file systems let nobody change a mode
                if not path.is_symlink():  # what it leads to is not published
                    path.chmod(stat.S_IMODE(path.stat().st_mode) | allowed)


def open_private(path: Path, mode: str, buffering: int = -1) -> BinaryIO:
    """As `open` for bytes; a file that is made by it is for its owner alone."""
    return cast("BinaryIO", open(path, mode, buffering, opener=_opener))


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, PRIVATE_FILE_MODE)
