"""Contents of files by SHA-256, on the machine where jobs of a server run: fetched once, verified, resumed after cuts.

Knows files, and where a content may be found without the network. Knows nothing of servers.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from camelid_core.errors import DiskFull, JobError
from camelid_core.file_permissions import make_private_directory, open_private
from camelid_core.integrity import sha256

from .file_hashes import FileHashes
from .protocol import SPARE_DISK_BYTES, FileContent

Download = Callable[[int], AbstractContextManager[Iterator[bytes]]]
"""The bytes of a content from some byte on."""
_READ_ONLY = 0o400
_LOCK = ".lock"


class ContentStore:
    """Contents in one directory. Files that are linked to from elsewhere are in use and never pruned."""

    def __init__(self, directory: Path, hashes: FileHashes) -> None:
        self._directory = make_private_directory(directory, directory)
        self._hashes = hashes

    def fetch(self, content: FileContent, candidates: Iterable[Path], download: Download) -> Path:
        """The file with that content: here already, else from one of `candidates`, else downloaded.

        Raises:
            JobError: what came is something else.
            DiskFull: no space for it.
        """
        path = self._directory / content.sha256
        if self._is(path, content):
            os.utime(path)
            return path
        with self._locked():
            if self._is(path, content):
                return path
            for candidate in candidates:
                if self._is(candidate, content):
                    self._require_space(content.size)
                    self._take(candidate, path)
                    return path
            self._download(content, path, download)
        return path

    def prune(self, most: int) -> None:
        """Delete what was not used for longest until no more than `most` bytes are here."""
        found = [(path.stat(), path) for path in self._directory.iterdir() if path.name != _LOCK]
        total = sum(status.st_size for status, _ in found)
        for status, path in sorted(found, key=lambda each: each[0].st_mtime):
            if total <= most:
                return
            if status.st_nlink == 1:
                path.unlink(missing_ok=True)
                total -= status.st_size

    def _is(self, path: Path, content: FileContent) -> bool:
        with suppress(OSError):
            return path.is_file() and path.stat().st_size == content.size and self._hashes.content(path) == content
        return False

    def _take(self, candidate: Path, path: Path) -> None:
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        shutil.copyfile(candidate, part)  # no link: its owner may write to it
        part.chmod(_READ_ONLY)
        part.replace(path)

    def _download(self, content: FileContent, path: Path, download: Download) -> None:
        part = path.with_suffix(".part")
        with suppress(OSError):
            part.chmod(0o600)
        with open_private(part, "ab") as file:
            have = file.tell()
            if have > content.size:
                file.truncate(have := 0)
            self._require_space(content.size - have)
            if have < content.size:
                with download(have) as chunks:
                    for chunk in chunks:
                        have += len(chunk)
                        if have > content.size:
                            break
                        file.write(chunk)
        if have != content.size or sha256(part) != content.sha256:
            if have < content.size:
                raise JobError(f"a file broke off at {have:,} of {content.size:,} bytes.")
            part.unlink()
            raise JobError(f"a file came that is not the one with SHA-256 {content.sha256}: it was changed on the server.")
        part.chmod(_READ_ONLY)
        part.replace(path)

    def _require_space(self, size: int) -> None:
        free = shutil.disk_usage(self._directory).free
        if size + SPARE_DISK_BYTES > free:
            raise DiskFull(
                f"{str(self._directory)!r} has {free:,} bytes of disk left, and {size:,} are to come. Free some space "
                "there, or let CAMELID_HOME be on a larger disk."
            )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Agents that share a home fetch one after the other: they mostly need the same."""
        with open_private(self._directory / _LOCK, "a+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
