"""A local hub: a directory of git repositories, beside which every branch also lies as in Hugging Face's cache.

So three addresses mean the same bytes without a network: `hub:DIR/ORG/NAME:BRANCH` for Camelid, `git clone
--single-branch --branch BRANCH DIR/ORG/NAME` for git, and with `HF_HUB_CACHE=DIR/.cache` also
`from_pretrained("ORG/NAME", revision="BRANCH")` for transformers. Knows both layouts and the order in which they are
written. Knows nothing of models.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path

from camelid_core.artefacts import MANIFEST, Manifest
from camelid_core.errors import DiskFull, JobError
from camelid_core.models.hub_names import CACHE, valid_branch, valid_repository
from camelid_core.paths import LOCAL_HUB_PREFIX
from pydantic import ValidationError

from camelid_train.saving.disk_space import require

from .cache_folder import CacheFolder
from .git_repository import GitRepository
from .hub_target import MAX_TEXT_BYTES, HubTarget, PublishedBranch, Report
from .outgoing_file import README, OutgoingFile

_CHUNK = 1 << 20
_ATTRIBUTES = OutgoingFile.of(".gitattributes", b"* -text\n*.safetensors -delta\n*.gguf -delta\n")
"""Nobody's git changes line ends on checkout, or searches weights for what they share."""


class LocalHub(HubTarget):
    """The hub in `directory`, which need not exist yet."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.name = f"{LOCAL_HUB_PREFIX}{self.directory}"

    def branches(self, repository: str) -> dict[str, PublishedBranch]:
        git = self._git(repository)
        if not git.exists:
            return {}
        return {branch: _published(git, git.files(commit)) for branch, commit in git.branches().items()}

    def write(
        self, repository: str, branch: str, files: Sequence[OutgoingFile], report: Report, keep_others: bool = False
    ) -> str:
        valid_branch(branch)
        with _in_sentences(self.directory):
            return self._write(repository, branch, files, report, keep_others)

    def _write(
        self, repository: str, branch: str, files: Sequence[OutgoingFile], report: Report, keep_others: bool
    ) -> str:
        git, cache = self._git(repository), CacheFolder(self.directory / CACHE, repository)
        self.directory.mkdir(parents=True, exist_ok=True)
        require(self.directory, 2 * sum(each.size for each in files), f"publishing {repository!r} as git and as files")
        git.create()
        tip = git.branches().get(branch, "")
        objects = git.files(tip) if keep_others and tip else {}
        for each in (_ATTRIBUTES, *files):
            objects[each.name] = _stored(each, git, cache)
            if each is not _ATTRIBUTES:
                report(each.size, each.name)
        for blob in objects.values():  # what stayed, where somebody emptied the cache
            if not cache.has(blob):
                cache.add(partial(git.extract, blob), lambda path, blob=blob: blob)  # type: ignore[misc]
        commit = git.commit(objects, tip, f"Publish {branch} by Camelid")
        cache.add_snapshot(commit, objects)
        if commit != tip:
            git.move_branch(branch, commit, tip)
        cache.set_branch(branch, commit)
        cache.keep_branches(git.branches())
        return commit

    def delete_branch(self, repository: str, branch: str) -> None:
        """Remove a branch; its files stay in the history of git."""
        git = self._git(repository)
        git.delete_branch(valid_branch(branch))
        CacheFolder(self.directory / CACHE, repository).keep_branches(git.branches())

    def web(self, repository: str, branch: str = "") -> str:
        return f"/{repository}/tree/{branch}" if branch else f"/{repository}"

    def clone_url(self, repository: str) -> str:
        return repository

    def load_lines(self, repository: str, branch: str, files: Sequence[str] = ()) -> list[str]:
        return [
            *(f"camelid chat {self.name}/{repository}:{branch}{file}" for file in ([f"/{n}" for n in files] or [""])),
            f"git clone --single-branch --branch {branch} {self.directory / repository}",
            f"HF_HUB_OFFLINE=1 HF_HUB_CACHE={self.directory / CACHE}  # then from_pretrained({repository!r}, "
            f"revision={branch!r})",
        ]

    def _git(self, repository: str) -> GitRepository:
        return GitRepository(self.directory / valid_repository(repository))


@contextmanager
def _in_sentences(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else JobError
        raise kind(
            f"nothing can be written to the hub {str(directory)!r}: {why}. The branch is as it was; mend that and "
            "publish again."
        ) from error


def _stored(planned: OutgoingFile, git: GitRepository, cache: CacheFolder) -> str:
    """The object of a file, in the cache and in git. One that was stored before is not read again.

    Raises:
        JobError: it is not the file that was planned, which changed meanwhile.
    """
    known = git.known(planned.sha256)
    if known and cache.has(known):
        return known
    blob = cache.add(partial(_copy, planned), git.store)
    git.remember(planned.sha256, blob)
    return blob


def _copy(planned: OutgoingFile, path: Path) -> None:
    digest, source = hashlib.sha256(), planned.source
    with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file, path.open("wb") as copy:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            copy.write(chunk)
    if digest.hexdigest() != planned.sha256:
        raise JobError(f"{planned.name!r} changed while it was published; nothing was. Publish it again.")


def _published(git: GitRepository, files: Mapping[str, str]) -> PublishedBranch:
    manifest = None
    if MANIFEST in files:
        try:
            manifest = Manifest.model_validate_json(git.read(files[MANIFEST], MAX_TEXT_BYTES))
        except ValidationError:
            manifest = None  # somebody else's, or of a newer Camelid: a branch whose making is not known
    card = git.read(files[README], MAX_TEXT_BYTES).decode(errors="replace") if README in files else ""
    return PublishedBranch(manifest, card)
