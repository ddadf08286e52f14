"""Files of the Hub: lists them at a commit and downloads them; an interrupted download is resumed.

Knows the Hub's API and the fetch log. The library's own download begins anew in a new process (huggingface_hub 2.4
removes its partial file), which does not do for 80 GB; hence the download here.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid_core.datasets.dataset import DownloadProgress, FetchFiles
from camelid_core.errors import CamelidError, DataError, MissingPackage
from camelid_core.file_permissions import make_private_directory
from camelid_core.integrity import write_durably

from . import local_files
from .collection_table import CollectionRow, load_collection
from .local_files import instructions

REVISION_VARIABLE = "CAMELID_DATA_REVISION"
"""Another branch, tag or commit than the pinned one, for every set."""

SPARE_DISK_BYTES = 256 << 20
"""Bytes of disk to leave free."""

_CHUNK = 1 << 20
_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file at a commit. `digest` is its SHA-256 where the Hub knows it (large files), else git's blob id."""

    name: str
    size: int
    digest: str

    def matches(self, path: Path) -> bool:
        return path.is_file() and path.stat().st_size == self.size and _digest(path, self) == self.digest


@dataclass(frozen=True, slots=True)
class RemoteListing:
    """A row's files at one commit."""

    repo: str
    revision: str
    commit: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def listing(row: CollectionRow, revision: str = "") -> RemoteListing:
    """Ask the Hub for the row's files. The commit is found first, so that all files are of one.

    Raises:
        DataError: the Hub is out of reach, refuses, or has no such files; says what else can be done.
    """
    wanted = revision or os.environ.get(REVISION_VARIABLE, "") or row.revision
    with _hub_errors(row):
        api = _api()
        commit = str(api.dataset_info(row.repo, revision=wanted, timeout=_SECONDS).sha)
        tree = api.list_repo_tree(
            row.repo, row.directory or None, recursive=not row.exact, revision=commit, repo_type="dataset"
        )
        every = {entry.path: entry for entry in tree if hasattr(entry, "blob_id")}
    files = tuple(_remote(every[name]) for name in local_files.select_files(row, every))
    if not files or (row.exact and len(files) < len(row.files)):
        raise DataError(f"{row.repo} at {wanted!r} does not have the files of {row.name}. {instructions(row)}")
    return RemoteListing(row.repo, wanted, commit, files)


def fetch(row: CollectionRow, revision: str = "", progress: DownloadProgress | None = None) -> list[Path]:
    """The row's files, fetched into the mirror directory unless they are there as they should be.

    Raises:
        DataError: as of `listing`; or a file came damaged. What has come so far is kept for the next try.
    """
    remote = listing(row, revision)
    from filelock import FileLock  # comes with huggingface_hub, which has just been there

    top = local_files.repository(row, local_files.downloads(), load_collection().repo)
    known = local_files.fetch_log(row).get("files", {})
    fetch_log = local_files.fetch_log_path(row)
    make_private_directory(fetch_log.parent)
    here: list[str] = []
    with FileLock(fetch_log.with_suffix(".lock")):  # two runs that want one set fetch it once
        for file in remote.files:
            path = top / file.name
            if not (known.get(_inside(path)) == file.digest and path.is_file()) and not file.matches(path):
                _write_fetch_log(fetch_log, remote, top, here)
                _check_room(row, file)
                _download(row, remote, file, path, progress or _no_progress)
            here.append(_inside(path))
        _write_fetch_log(fetch_log, remote, top, here)
    return [top / file.name for file in remote.files]


def _check_room(row: CollectionRow, file: RemoteFile) -> None:
    disk = local_files.downloads()
    free = shutil.disk_usage(disk).free
    partial = _partial(file)
    wanted = file.size - (partial.stat().st_size if partial.exists() else 0)
    if wanted + SPARE_DISK_BYTES > free:
        raise DataError(
            f"{file.name} of {row.name} needs {wanted / 1e9:.1f} GB, and {str(disk)!r} has {free / 1e9:.1f} GB free. "
            "Make room, or let CAMELID_HOME be on a larger disk."
        )


def _partial(file: RemoteFile) -> Path:
    return local_files.downloads() / ".camelid" / f"{file.digest}.part"


def _download(
    row: CollectionRow, listed: RemoteListing, file: RemoteFile, path: Path, progress: DownloadProgress
) -> None:
    """Resumes a partial file of the same content."""
    partial = _partial(file)
    make_private_directory(path.parent)
    have = partial.stat().st_size if partial.exists() else 0
    if have > file.size:
        have = 0
    with partial.open("r+b" if have else "wb") as target:
        target.seek(have)
        target.truncate()
        while have < file.size:
            before = have
            try:
                for chunk in stream(row, listed.commit, file.name, have, file.size):
                    target.write(chunk)
                    have += len(chunk)
                    progress(file.name, have, file.size)
            except DataError:
                if have == before:  # a broken connection is retried as long as there is progress
                    raise
        target.flush()
        os.fsync(target.fileno())
    if not file.matches(partial):
        partial.unlink()
        raise DataError(f"{file.name} came damaged (its checksum differs) and was thrown away; fetch it again.")
    partial.replace(path)


def stream(row: CollectionRow, commit: str, name: str, start: int, stop: int) -> Iterator[bytes]:
    """The bytes `start` to `stop` of a file, as they come."""
    if start >= stop:
        return
    with _hub_errors(row):
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers, get_session

        url = hf_hub_url(row.repo, name, repo_type="dataset", revision=commit, endpoint=_endpoint())
        headers = {**build_hf_headers(), "Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        with get_session().stream("GET", url, headers=headers, timeout=_SECONDS) as answer:
            answer.raise_for_status()
            skip = start if answer.status_code == 200 else 0  # a server that knows no ranges sends all of it
            left = stop - start
            for chunk in answer.iter_raw():
                part = chunk[skip : skip + left]
                skip = max(0, skip - len(chunk))
                left -= len(part)
                if part:
                    yield part
                if not left:
                    return


def _remote(entry: Any) -> RemoteFile:
    large = getattr(entry, "lfs", None)
    return RemoteFile(entry.path, entry.size, large.sha256 if large else entry.blob_id)


def _digest(path: Path, file: RemoteFile) -> str:
    if len(file.digest) == 64:
        with path.open("rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    blob = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)  # git's name for a file
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            blob.update(chunk)
    return blob.hexdigest()


def _inside(path: Path) -> str:
    return path.relative_to(local_files.downloads()).as_posix()


def _write_fetch_log(fetch_log: Path, remote: RemoteListing, top: Path, here: list[str]) -> None:
    values = {
        "repo": remote.repo,
        "revision": remote.revision,
        "commit": remote.commit,
        "files": {_inside(top / file.name): file.digest for file in remote.files},
        "here": here,
    }
    write_durably(fetch_log, json.dumps(values, indent=1, ensure_ascii=False).encode())


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint=_endpoint())


def _endpoint() -> str | None:
    """Read when needed: the library reads it once, at import."""
    return os.environ.get("HF_ENDPOINT") or None


@contextmanager
def _hub_errors(row: CollectionRow) -> Iterator[None]:
    """Turns any error of a network library into a DataError that says what else can be done."""
    if not row.published:
        raise DataError(instructions(row))
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise DataError(f"The Hub is not asked (HF_HUB_OFFLINE is set). {instructions(row)}")
    try:
        yield
    except CamelidError:
        raise
    except ImportError:
        raise MissingPackage(
            "Fetching from the Hub needs huggingface_hub. Type: pip install 'camelid-alpaca-cot[hub]'"
        ) from None
    except Exception as error:  # the kinds differ between releases of the library and of what it stands on
        status = getattr(getattr(error, "response", None), "status_code", None)
        reason = f"refused ({status})" if status else f"is out of reach ({type(error).__name__})"
        raise DataError(f"The Hub {reason}. {instructions(row)}") from None


def _no_progress(name: str, have: int, size: int) -> None:
    pass


def fetcher(row: CollectionRow) -> FetchFiles:
    """How a `Dataset` of this row brings its files here."""

    def fetch_row(revision: str, progress: DownloadProgress) -> list[Path]:
        return fetch(row, revision, progress)

    return fetch_row
