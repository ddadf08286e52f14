"""SHA-256 of files, computed once for as long as a file stays the same, and listings of directories by content.

Knows files by size, time and inode, whatever names lead to them. Knows nothing of what they hold.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from camelid_core import integrity

from .protocol import FileContent

_MAX_REMEMBERED = 100_000
Stamp = tuple[int, int, int, int]


class FileHashes:
    """Hashes that were computed before; any thread may ask."""

    def __init__(self) -> None:
        self._known: dict[Stamp, str] = {}
        self._lock = threading.Lock()

    def content(self, path: Path) -> FileContent:
        """Size and hash of a file. Raises OSError, and of one that changes meanwhile BlockingIOError."""
        before = _stamp(path)
        with self._lock:
            known = self._known.get(before)
        if known is None:
            known = integrity.sha256(path)
            if _stamp(path) != before:
                raise BlockingIOError(f"{str(path)!r} is being written.")
            with self._lock:
                while len(self._known) >= _MAX_REMEMBERED:
                    self._known.pop(next(iter(self._known)))
                self._known[before] = known
        return FileContent(size=before[2], sha256=known)

    def listing(
        self, top: Path, takes: Callable[[str], bool] = lambda name: True, links: bool = False
    ) -> dict[str, FileContent]:
        """The files below a directory that `takes` says yes to; with `links` also what links to files lead to.

        Files that go or change meanwhile are left out; whoever needs one finds that it is missing.
        """
        found: dict[str, FileContent] = {}
        for path in sorted(files_below(top, links)):
            name = path.relative_to(top).as_posix()
            if takes(name):
                try:
                    found[name] = self.content(path)
                except (FileNotFoundError, BlockingIOError):
                    continue
        return found


def files_below(top: Path, links: bool = False) -> list[Path]:
    """Regular files below a directory; links to directories are never followed, those to files with `links` alone."""
    paths = (Path(folder) / name for folder, _, names in os.walk(top) for name in names)
    return [path for path in paths if path.is_file() and (links or not path.is_symlink())]


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
