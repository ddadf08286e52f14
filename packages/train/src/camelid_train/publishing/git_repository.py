"""A bare git repository whose branches are written without a work tree, by the `git` program.

Every branch is a commit whose tree is exactly the files given; a branch is moved last, and only if nobody moved it
meanwhile. Large files are stored as they are, without compression or LFS: a plain `git clone` gets the same bytes.
Knows git's plumbing (git-scm.com/docs, section "Low-level Commands"). Knows nothing of models.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from camelid_core import staging
from camelid_core.errors import JobError, MissingPackage
from camelid_core.integrity import write_durably
from camelid_core.subprocesses import safe_environment

_SETTINGS = {
    "core.bigFileThreshold": "4m",  # larger ones are streamed: memory stays small, whatever the file
    "core.compression": "0",  # weights hardly shrink; so writing goes at the speed of the disk
    "core.fsync": "committed,reference",
    "receive.denyNonFastForwards": "true",
    "gc.auto": "0",
}
_OBJECTS = "camelid-objects"
"""Folder of notes: SHA-256 → object. So large files are not read again that were stored once."""
_MISSING = "a local hub needs the program `git`, which is not here. Type `apt install git` or `brew install git`."


class GitRepository:
    """The repository at `path`, which `create` makes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def exists(self) -> bool:
        return (self.path / "HEAD").is_file()

    def create(self) -> None:
        """Make it, whole or not at all, unless it is there. Raises MissingPackage: there is no `git` program."""
        if self.exists:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with staging.directory(self.path) as staged:
            fresh = GitRepository(staged)
            fresh._git("init", "--quiet", "--bare", "--initial-branch=main", ".")
            shutil.rmtree(staged / "hooks", ignore_errors=True)  # samples
            for name, value in _SETTINGS.items():
                fresh._git("config", name, value)
            staged.rename(self.path)

    def branches(self) -> dict[str, str]:
        """Branch → commit."""
        lines = self._git("for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/heads").decode()
        parts = (line.partition(" ") for line in lines.splitlines())
        return {name: commit for name, _, commit in parts}

    def files(self, commit: str) -> dict[str, str]:
        """Name → object of every file of a commit."""
        entries = self._git("ls-tree", "-r", "-z", commit).decode().split("\0")
        return {name: about.split(" ")[2] for about, _, name in (entry.partition("\t") for entry in entries if entry)}

    def read(self, blob: str, most: int) -> bytes:
        """The content of a file's object. Raises JobError: it has more bytes than `most`."""
        size = int(self._git("cat-file", "-s", blob))
        if size > most:
            raise JobError(f"object {blob} of {str(self.path)!r} has {size:,} bytes where {most:,} are the most.")
        return self._git("cat-file", "blob", blob)

    def store(self, source: Path) -> str:
        """Write a file's bytes as they are, and return its object; the same bytes are stored once."""
        return self._git("hash-object", "-w", "--no-filters", "-t", "blob", str(source.absolute())).decode().strip()

    def known(self, sha256: str) -> str:
        """The object of the bytes with this SHA-256; empty if it was not remembered, or is gone."""
        note = self.path / _OBJECTS / sha256
        blob = note.read_text(encoding="ascii") if note.is_file() else ""
        return blob if blob and self.has(blob) else ""

    def remember(self, sha256: str, blob: str) -> None:
        (self.path / _OBJECTS).mkdir(exist_ok=True)
        write_durably(self.path / _OBJECTS / sha256, blob.encode())

    def has(self, blob: str) -> bool:
        """Whether there is such an object."""
        try:
            self._git("cat-file", "-e", blob)
        except JobError:
            return False
        return True

    def extract(self, blob: str, path: Path) -> None:
        """Write an object's bytes to a file, streaming."""
        with path.open("wb") as file:
            self._git("cat-file", "blob", blob, to=file)

    def commit(self, files: Mapping[str, str], parent: str, message: str) -> str:
        """The commit whose tree is `files` (name → object); `parent` itself where that has the same tree."""
        lines = "".join(f"100644 {blob}\t{name}\0" for name, blob in sorted(files.items()))
        with staging.directory(self.path / "index") as scratch:
            index = str(scratch / "index")
            self._git("update-index", "-z", "--index-info", data=lines.encode(), index=index)
            tree = self._git("write-tree", index=index).decode().strip()
        if parent and self._git("rev-parse", f"{parent}^{{tree}}").decode().strip() == tree:
            return parent
        parents = ("-p", parent) if parent else ()
        return self._git("commit-tree", tree, *parents, "-m", message).decode().strip()

    def move_branch(self, branch: str, commit: str, expected: str) -> None:
        """Let `branch` be `commit`. Raises JobError: it is no longer at `expected` (empty: not there)."""
        self._git("update-ref", f"refs/heads/{branch}", commit, expected or "0" * 40)
        self._git("update-server-info")  # so that a plain file server can be cloned from

    def delete_branch(self, branch: str) -> None:
        self._git("update-ref", "-d", f"refs/heads/{branch}")
        self._git("update-server-info")

    def _git(self, *arguments: str, data: bytes = b"", to: BinaryIO | None = None, index: str = "") -> bytes:
        program = shutil.which("git")
        if program is None:
            raise MissingPackage(_MISSING)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        where = () if arguments[0] == "init" else ("--git-dir=.",)
        done = subprocess.run(
            [program, *where, *arguments],
            cwd=self.path,
            input=data,
            env={**safe_environment(kept), **_IDENTITY, **({"GIT_INDEX_FILE": index} if index else {})},
            stdout=to or subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
        )
        if done.returncode:
            said = (done.stderr.decode(errors="replace").strip().splitlines() or ["nothing was said"])[-1]
            raise JobError(f"git {arguments[0]} failed in {str(self.path)!r}: {said}. The branches are as they were.")
        return done.stdout or b""


_IDENTITY = {
    **{f"GIT_{who}_NAME": "Camelid" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "camelid@localhost" for who in ("AUTHOR", "COMMITTER")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "LC_ALL": "C",
}
"""Commits do not tell who made them, and nobody's own configuration changes what is stored."""
