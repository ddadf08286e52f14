"""What an agent sends for one attempt: files that grow, files by content in pieces, and how these come into place.

Knows the attempt's directory and writes nowhere else. Knows nothing of who sends, or whether they may.
A directory that is new appears whole, by one rename: a checkpoint is here or it is not.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from camelid_core import staging
from camelid_core.artefacts import MANIFEST, read_artefact
from camelid_core.errors import ArtefactError, DiskFull, JobError
from camelid_core.file_permissions import PRIVATE_DIRECTORY_MODE, make_private_directory, open_private
from camelid_core.integrity import fsync_directory, sha256
from camelid_core.jobs.publication import sync
from camelid_core.jobs.run_directories import OUTPUT
from camelid_core.machines.attempt_files import grows, is_kept
from camelid_core.machines.file_hashes import FileHashes
from camelid_core.machines.protocol import MAX_FILE_BYTES, SPARE_DISK_BYTES, FileContent, State
from camelid_core.machines.wire_paths import path_below

_RECEIVED = ".received"
_PART = ".part"


class WrongOffset(JobError):
    """The file goes on at byte `have`."""

    def __init__(self, have: int) -> None:
        super().__init__(f"the file goes on at byte {have:,}.")
        self.have = have


class ReceivedFiles:
    """Files of the attempt whose directory is `attempt`. Contents lie beside it until they are in their place."""

    def __init__(self, attempt: Path, hashes: FileHashes) -> None:
        self._attempt = attempt
        self._contents = attempt.parent / _RECEIVED
        self._hashes = hashes

    def append(self, name: str, offset: int, data: bytes) -> None:
        """The bytes of a growing file from `offset` on; what was there from that byte on is replaced.

        Raises:
            JobError: it is no file that grows.
            WrongOffset: bytes before these are missing.
        """
        path = path_below(self._attempt, name)
        if not grows(name):
            raise JobError(f"{name!r} is no log or event file of an attempt.")
        self._require_space(len(data))
        path.parent.mkdir(PRIVATE_DIRECTORY_MODE, parents=True, exist_ok=True)
        with open_private(path, "a+b") as file:
            have = file.seek(0, os.SEEK_END)
            if offset > have or offset < 0:
                raise WrongOffset(have)
            file.truncate(offset)
            file.write(data)

    def receive(self, digest: str, offset: int, size: int, data: bytes) -> None:
        """The next bytes of a content of `size` bytes; after the last of them it is verified.

        Raises:
            WrongOffset: it goes on elsewhere.
            JobError: it is larger than it was said to be, or not what its SHA-256 says.
            DiskFull: there is no space for the rest of it.
        """
        if not 0 <= size <= MAX_FILE_BYTES or offset + len(data) > size:
            raise JobError(f"a file of {size:,} bytes has no {len(data):,} bytes from byte {offset:,} on.")
        if self._is_here(FileContent(size=size, sha256=digest)):
            return
        self._require_space(size - offset)
        make_private_directory(self._contents, self._attempt.parents[2])
        part = self._contents / f"{digest}{_PART}"
        with open_private(part, "a+b") as file:
            have = file.seek(0, os.SEEK_END)
            if have != offset:
                raise WrongOffset(have)
            file.write(data)
            file.flush()
            if offset + len(data) < size:
                return
            os.fsync(file.fileno())
        if sha256(part) != digest:
            part.unlink()
            raise JobError(f"the file that came is not the one with SHA-256 {digest}; it is sent anew.")
        part.replace(self._contents / digest)

    def keep(self, state: State) -> list[str]:
        """Make what the attempt keeps be as `state` says: the contents that must be sent first, and nothing is changed
        while there are any."""
        for name in state.files:
            if not is_kept(name):
                raise JobError(f"{name!r} is no file that an attempt keeps.")
        gone = [self._earlier_file(name) for name in state.gone]
        current = self._hashes.listing(self._attempt, is_kept)
        changed = {name: content for name, content in state.files.items() if current.get(name) != content}
        places = {name: path_below(self._attempt, name) for name in changed}
        if missing := self._missing(changed):
            return missing
        for top, names in _by_new_directory(self._attempt, places).items():
            self._place(top, {places[name]: changed[name] for name in names})
        for path in [*(self._attempt / name for name in current if name not in state.files), *gone]:
            _delete(path, self._attempt.parent)
        self.clear()
        return []

    def output(self, files: Mapping[str, FileContent]) -> list[str]:
        """Put the attempt's result together at its place; the contents that must be sent first.

        Raises:
            ArtefactError: it has files that its manifest does not list, or no manifest.
        """
        target = self._attempt / OUTPUT
        if target.is_dir():
            return []
        places = {path_below(target, name): content for name, content in files.items()}
        if missing := self._missing(files):
            return missing
        self._place(target, places, mode=0o777)
        listed = {MANIFEST, *read_artefact(target).manifest.files}
        if stray := sorted(set(files) - listed):
            shutil.rmtree(target)
            raise ArtefactError(f"the result has a file that its manifest does not list: {stray[0]!r}.")
        return []

    def clear(self) -> None:
        """Delete contents that are not in any place."""
        shutil.rmtree(self._contents, ignore_errors=True)

    def _missing(self, files: Mapping[str, FileContent]) -> list[str]:
        return sorted({content.sha256 for content in files.values() if not self._is_here(content)})

    def _is_here(self, content: FileContent) -> bool:
        path = self._contents / content.sha256
        return path.is_file() and path.stat().st_size == content.size

    def _place(self, top: Path, files: Mapping[Path, FileContent], mode: int = PRIVATE_DIRECTORY_MODE) -> None:
        """Bring contents to their places, all of which are `top` or below it, by one rename."""
        with staging.directory(top, mode) as staged:
            for path, content in files.items():
                inside = staged / (path.relative_to(top) if path != top else path.name)
                inside.parent.mkdir(mode, parents=True, exist_ok=True)
                os.link(self._contents / content.sha256, inside)
            sync(staged)
            (staged / top.name if top in files else staged).replace(top)
        fsync_directory(top.parent)

    def _earlier_file(self, name: str) -> Path:
        """`EPOCH/path` of an attempt before this one."""
        epoch, _, rest = name.partition("/")
        if not epoch.isdecimal() or len(epoch) > 9 or int(epoch) >= int(self._attempt.name) or not is_kept(rest):
            raise JobError(f"{name!r} is no file that an earlier attempt kept.")
        return path_below(self._attempt.parent / epoch, rest)

    def _require_space(self, size: int) -> None:
        free = shutil.disk_usage(self._attempt).free
        if size + SPARE_DISK_BYTES > free:
            raise DiskFull(f"The server's disk has {free:,} bytes left, and {size:,} are to come. Free some space there.")


def _by_new_directory(top: Path, places: Mapping[str, Path]) -> dict[Path, list[str]]:
    """Which files come with one rename: all below the highest directory that is not there yet, else each by itself."""
    groups: dict[Path, list[str]] = {}
    for name, path in places.items():
        above = [each for each in (path, *path.parents) if each.is_relative_to(top) and not each.is_dir()]
        groups.setdefault(above[-1], []).append(name)
    return groups


def _delete(path: Path, above: Path) -> None:
    """Delete a file, and the directories that are empty then."""
    with suppress(OSError):
        path.unlink()
        for each in path.parents:
            if not each.is_relative_to(above) or each.parent in (above, above.parent):
                break
            each.rmdir()
