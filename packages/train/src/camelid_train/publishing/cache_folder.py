"""A repository in the layout of Hugging Face's cache, which transformers and other programs read without a network.

    models--ORG--NAME/blobs/OBJECT
    models--ORG--NAME/snapshots/COMMIT/NAME → ../../blobs/OBJECT
    models--ORG--NAME/refs/BRANCH            the commit's number
    models--ORG--NAME/.no_exist/COMMIT/NAME  empty: there is no such file, and nobody need ask

Layout: huggingface.co/docs/huggingface_hub/guides/manage-cache. Knows files and links. Knows nothing of git.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path, PurePosixPath

from camelid_core import staging
from camelid_core.integrity import fsync_directory, write_durably
from camelid_core.models.hub_names import repository_folder

_LOOKED_FOR = "config.json"
"""Transformers looks for it before it reads any tokenizer; adapters have none."""


class CacheFolder:
    """The folder of one repository below a cache."""

    def __init__(self, cache: Path, repository: str) -> None:
        self.path = repository_folder(cache, repository)

    def add(self, write: Callable[[Path], None], name: Callable[[Path], str]) -> str:
        """The object that `write` writes to the path that it is given, and `name` gives its name; stored once."""
        folder = self.path / "blobs"
        folder.mkdir(parents=True, exist_ok=True)
        with staging.file(folder / "new") as staged:
            write(staged)
            with staged.open("rb") as file:
                os.fsync(file.fileno())
            blob = name(staged)
            if not self.has(blob):
                staged.replace(folder / blob)
                fsync_directory(folder)
        return blob

    def has(self, blob: str) -> bool:
        return (self.path / "blobs" / blob).is_file()

    def add_snapshot(self, commit: str, files: Mapping[str, str]) -> None:
        """The directory of a commit: `files` is name → object, all of which were added."""
        target = self.path / "snapshots" / commit
        for name in {_LOOKED_FOR} - files.keys():
            absent = self.path / ".no_exist" / commit / name
            absent.parent.mkdir(parents=True, exist_ok=True)
            absent.touch()
        if target.is_dir() and all((target / name).is_file() for name in files):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        with staging.directory(target) as staged:
            for name, blob in files.items():
                path = staged / name
                path.parent.mkdir(parents=True, exist_ok=True)
                up = [".."] * (len(PurePosixPath(name).parts) + 1)
                path.symlink_to(Path(*up, "blobs", blob))
            staged.rename(target)
        fsync_directory(target.parent)

    def set_branch(self, branch: str, commit: str) -> None:
        path = self.path / "refs" / branch
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != commit:
            write_durably(path, commit.encode())

    def keep_branches(self, branches: Collection[str]) -> None:
        """Forget all other branches: somebody deleted them."""
        folder = self.path / "refs"
        for path in list(folder.iterdir()) if folder.is_dir() else []:
            if path.name not in branches and not path.name.startswith("."):
                path.unlink(missing_ok=True)
