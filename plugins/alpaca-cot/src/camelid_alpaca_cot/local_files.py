"""Finds a set's files on this machine: the mirror directories, and every name that a file has had.

Knows directories and file names. Never uses the network, so that listings can call it for every row.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from camelid_core import paths
from camelid_core.json_files import object_in

from .collection_table import CollectionRow, load_collection

MIRROR_VARIABLE = "CAMELID_DATA_MIRROR"
SUFFIXES = (".json", ".jsonl", ".parquet")


def downloads() -> Path:
    """Where fetched files go. It is laid out as the Hub repository is, so it is a mirror like any other."""
    return paths.home() / "mirror"


def mirrors() -> list[Path]:
    """Directories to look in, first come first served: the one that is named, ours, and the original's `./data`."""
    named = os.environ.get(MIRROR_VARIABLE, "")
    return [*([paths.validated_path(named, MIRROR_VARIABLE)] if named else []), downloads(), Path("data")]


def repository(row: CollectionRow, mirror: Path, collection: str) -> Path:
    """The part of `mirror` that holds the row's repository: the collection's is the top, others have their own."""
    return mirror if row.repo == collection else mirror / row.repo


def find(row: CollectionRow, collection: str) -> list[Path]:
    """The row's files, all from one mirror; none if no mirror has them all."""
    for mirror in mirrors():
        found = _by_fetch_log(row, mirror)
        if found is None:
            found = _by_layout(row, repository(row, mirror, collection)) or _by_name(row, mirror)
        if found:
            return found
    return []


def first_existing(names: Iterable[str]) -> Path | None:
    """The first file of one of these names in any mirror, at the usual places in a mirror."""
    wanted = list(names)
    return next((path for mirror in mirrors() for name in wanted if (path := mirror / name).is_file()), None)


def select_files(row: CollectionRow, names: Iterable[str]) -> list[str]:
    """Which of a repository's files are the row's."""
    top = "" if row.directory == "" else f"{row.directory}/"
    return sorted(name for name in names if name.startswith(top) and _fits(row, name.removeprefix(top)))


def _by_fetch_log(row: CollectionRow, mirror: Path) -> list[Path] | None:
    """Files that a fetch downloaded: none while it is unfinished, so that half a set is never used. None: no fetch."""
    done, total = progress(row) if mirror == downloads() else (0, 0)
    if not total:
        return None
    return [mirror / name for name in sorted(fetch_log(row)["files"])] if done == total else []


def _by_layout(row: CollectionRow, top: Path) -> list[Path]:
    directories = {row.directory, row.path, row.name} - {"-"}
    for directory in sorted(directories, key=len, reverse=True):
        here = top / directory
        if row.exact:
            found = [here / name for name in row.files]
            if all(path.is_file() for path in found):
                return found
        elif here.is_dir():
            return [here / name for name in sorted(_below(here)) if _fits(row, name)]
    return []


def _by_name(row: CollectionRow, mirror: Path) -> list[Path]:
    """The original kept all files in one flat directory, and some under another name."""
    if row.exact and all((mirror / name).is_file() for name in row.files):
        return [mirror / name for name in row.files]
    other = next((path for name in row.aliases if (path := mirror / name).suffix in SUFFIXES and path.is_file()), None)
    return [other] if other else []


def _below(directory: Path) -> Iterator[str]:
    for path in directory.rglob("*"):
        name = path.relative_to(directory)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            yield name.as_posix()


def _fits(row: CollectionRow, name: str) -> bool:
    patterns = row.files or tuple(f"*{suffix}" for suffix in SUFFIXES)
    last = PurePosixPath(name).name
    return any(fnmatch(name, pattern) for pattern in patterns) and not any(fnmatch(last, out) for out in row.skip)


def progress(row: CollectionRow) -> tuple[int, int]:
    """From the fetch log: how many files are here, and how many there are."""
    values = fetch_log(row)
    return sum((downloads() / name).is_file() for name in values.get("here", ())), len(values.get("files", ()))


def fetch_log_path(row: CollectionRow) -> Path:
    """Path of the fetch log: files, digests and commit of a fetch. Sets that share files share it."""
    name = f"{row.repo}--{row.directory}".replace("/", "--") if row.keep else row.name
    return downloads() / ".camelid" / f"{name}.json"


def fetch_log(row: CollectionRow) -> dict[str, Any]:
    """The fetch log: `repo`, `revision`, `commit`, `files` (path in the mirror → digest), and of those
    the ones that are `here` as they should be."""
    return object_in(fetch_log_path(row))


def instructions(row: CollectionRow) -> str:
    """How a person can get the row's files."""
    mirror = downloads()
    top = repository(row, mirror, load_collection().repo)
    if not row.published:
        return (
            f"{row.name} is not on this machine, and the collection never published it. Take its files from "
            f"{row.upstream} and put them, as rows with instruction, input and output, into {mirror / row.name}"
        )
    directory = top / row.directory if row.directory else top
    files = ", ".join(row.files) if row.exact else "its .json, .jsonl or .parquet files"
    done, total = progress(row)
    begun = f" {done} of {total} files are here already." if total else ""
    return (
        f"{row.name} is not on this machine.{begun} Type `camelid datasets fetch {row.name}`, or take {files} "
        f"from {web_address(row)} and put it into {directory} "
        f"(or into the same place under a directory that {MIRROR_VARIABLE} names)."
    )


def web_address(row: CollectionRow) -> str:
    """Where a browser shows the row's files."""
    if not row.published:
        return row.upstream
    tail = f"/{row.directory}" if row.directory else ""
    return f"https://huggingface.co/datasets/{row.repo}/tree/{row.revision}{tail}"
