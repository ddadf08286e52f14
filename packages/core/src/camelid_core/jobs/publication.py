"""Publishing: moving an attempt's output to its final place, verified, atomically, and once.

Knows directories, renames and fsync. Knows nothing of what an artefact holds: the caller passes a verifier.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from camelid_core import staging
from camelid_core.errors import CamelidError, JobError
from camelid_core.file_permissions import inherit_directory_permissions, make_private_directory
from camelid_core.integrity import fsync_directory, write_durably
from camelid_core.paths import artefacts_dir, safe_name, validated_path

from .attempt_result import AttemptResult, Outcome
from .job import Job, JobState
from .run_directories import OUTPUT, PLACEMENT, RESULT, attempts, home_of
from .store import JobStore

Verify = Callable[[Path], object]


def destination(config: Any) -> Path | None:
    """Where a configuration wants its result: its `publish_to`, else its `output`; None: a default name.

    A plain name means a directory among the artefacts.

    Raises:
        UsageError: it is no valid path.
        JobError: something is there already, or it cannot be written. Checked before the work, not after it.
    """
    try:
        path = wanted_place(config)
        if path is None:
            return None
        _refuse_occupied(path)
        _try_placing(path)
    except CamelidError:
        raise
    except OSError as error:
        given = str(_wanted(config))
        raise JobError(f"nothing can be written to {given!r}: {_reason(error)}. Give another output.") from error
    return path


def wanted_place(config: Any) -> Path | None:
    """As `destination`, without looking whether the result can be put there."""
    if not (given := _wanted(config)):
        return None
    path = validated_path(given, "output")
    return path if path.is_absolute() else artefacts_dir() / safe_name(str(path), "output")


def _wanted(config: Any) -> Any:
    return getattr(config, "publish_to", None) or getattr(config, "output", None)


def _try_placing(path: Path) -> None:
    """Try what publishing will do, in a temporary directory beside: only the system knows whether it is possible."""
    above = next(each for each in path.parents if os.path.lexists(each))
    with staging.directory(above / "trial") as trial:
        place = trial / path.relative_to(above)
        place.mkdir(parents=True)
        with staging.directory(place) as staged:
            staged.rename(place)
            fsync_directory(place.parent)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).rstrip(".")


def publish(store: JobStore, job: Job, attempt: Path, result: AttemptResult, verify: Verify) -> Job:
    """Verify the output of a successful attempt and move it to its final place, if the job is still ours.

    Raises:
        StaleAttempt: another attempt holds the job.
        JobError: the place was occupied meanwhile, or cannot be written; the output stays in the attempt's directory.
    """
    output = attempt / OUTPUT
    placed = _already_placed(attempt)
    if placed is not None:
        return store.publish(job, lambda: placed, result.summary)
    if not output.exists() and (attempt / PLACEMENT).exists():
        (attempt / RESULT).unlink()  # a retry must do the work again: there is nothing left to publish
        raise JobError(
            "the result was put to its place, and is there no more: it was moved or deleted before it could be written "
            f"down as published. `camelid jobs retry {job.id}` makes it anew."
        )
    if not output.exists():
        return store.finish(job, JobState.SUCCEEDED, summary=result.summary)
    try:
        verify(output)
    except CamelidError:
        (attempt / RESULT).unlink()  # a retry must do the work again, not publish this again
        raise
    inherit_directory_permissions(output)
    sync(output)
    target = Path(result.publish_to) if result.publish_to else home_of(attempt) / "artefacts" / job.label
    place = _ResultPlacement(attempt, target, explicit=result.publish_to is not None)
    try:
        make_private_directory(target.parent, home_of(attempt))
        return _publish_to(store, job, output, place, result)
    except OSError as error:
        raise JobError(
            f"the result cannot be put to {str(target)!r}: {_reason(error)}. It is kept: mend that, and "
            f"`camelid jobs retry {job.id}` puts it there without doing the work again."
        ) from error


def unpublished_success(home: Path, job_id: int) -> tuple[Path, AttemptResult] | None:
    """An earlier attempt that had succeeded but was not published: its worker died, or the place was occupied."""
    for directory in attempts(home, job_id):
        result = AttemptResult.read(directory)
        if result is not None and result.how == Outcome.SUCCEEDED:
            return directory, result
    return None


def _publish_to(store: JobStore, job: Job, output: Path, place: _ResultPlacement, result: AttemptResult) -> Job:
    try:
        return store.publish(job, lambda: place(output), result.summary)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    return _publish_across_file_systems(store, job, output, place, result)


def _publish_across_file_systems(
    store: JobStore, job: Job, output: Path, place: _ResultPlacement, result: AttemptResult
) -> Job:
    """The final place is on another file system: copy beside it first, outside the lock."""
    with staging.directory(place.target) as copy:
        shutil.copytree(output, copy, symlinks=True, dirs_exist_ok=True)
        sync(copy)
        published = store.publish(job, lambda: place(copy), result.summary)
    shutil.rmtree(output, ignore_errors=True)
    return published


class _ResultPlacement:
    """Renames a directory to `target`, or to `target-2`, `-3` … where the name is a default."""

    def __init__(self, attempt: Path, target: Path, explicit: bool) -> None:
        self.target = target
        self._attempt = attempt
        self._explicit = explicit

    def __call__(self, staged: Path) -> Path:
        final = self._free_path()
        found = staged.stat()
        # after a kill between the rename and the commit, the next attempt finds by this record that all is done
        record = {"path": str(final), "device": found.st_dev, "inode": found.st_ino}
        write_durably(self._attempt / PLACEMENT, json.dumps(record).encode(), private=True)
        staged.rename(final)
        fsync_directory(final.parent)
        return final

    def _free_path(self) -> Path:
        if self._explicit:
            _refuse_occupied(self.target)
            return self.target
        names = (self.target.with_name(f"{self.target.name}-{n}") for n in count(2))
        return self.target if not _is_occupied(self.target) else next(path for path in names if not _is_occupied(path))


def sync(directory: Path) -> None:
    """fsync every file below: a rename that survives a power cut must not outlive its contents."""
    for folder, _, names in os.walk(directory):
        for name in names:
            with (Path(folder) / name).open("rb") as file:
                os.fsync(file.fileno())
        fsync_directory(Path(folder))


def _already_placed(attempt: Path) -> Path | None:
    try:
        record = json.loads((attempt / PLACEMENT).read_text(encoding="utf-8"))
        path = Path(record["path"])
        found = path.stat()
    except (OSError, ValueError, KeyError):
        return None
    return path if (found.st_dev, found.st_ino) == (record["device"], record["inode"]) else None


def _refuse_occupied(path: Path) -> None:
    if _is_occupied(path):
        raise JobError(
            f"{path} exists already and is not empty; nothing was overwritten. Give another output or move it."
        )


def _is_occupied(path: Path) -> bool:
    """Whether anything is at `path`; an empty directory does not count, for a rename replaces it."""
    if path.is_symlink() or not path.is_dir():
        return path.is_symlink() or path.exists()
    return next(path.iterdir(), None) is not None
