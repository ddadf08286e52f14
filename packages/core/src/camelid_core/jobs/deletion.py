"""Deleting a job that has ended: its row and its attempts' directories, and its result only on request.

Knows directories, manifests and what else uses a result. What is in use stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from camelid_core import staging
from camelid_core.artefacts import is_artefact, read_artefact
from camelid_core.errors import ArtefactError, JobError

from .job import ENDED, Job, JobState
from .run_directories import attempt_directory
from .store import JobStore


def delete(store: JobStore, job_id: int, result: bool = False) -> Job:
    """Delete the job and its attempts' directories; with `result` also what it published.

    Raises:
        JobError: it is queued or runs, or something else uses its result. Nothing was deleted then.
    """
    job = store.get(job_id)
    published = Path(job.published) if result and job.published else None
    if published is not None:
        _refuse_used(store, job, published)
    directories = [attempt_directory(store.path.parent, node.id, 1).parent for node in store.nodes(job)]
    moved: dict[Path, Path] = {}
    with ExitStack() as deletions:

        def clear() -> None:
            for path in (*directories, published):
                if path is not None and path.exists():
                    moved[path] = deletions.enter_context(staging.set_aside(path))

        try:
            return store.delete(job_id, clear)
        except BaseException:
            _restore(moved)
            raise


def users_of(store: JobStore, job: Job) -> list[str]:
    """What else needs this job's result, in words: artefacts with it as base model, and jobs that have not ended."""
    if not job.published:
        return []
    published = Path(job.published)
    return [*_artefacts_based_on(published, store.path.parent / "artefacts"), *_jobs_using(store, job, published)]


def _refuse_used(store: JobStore, job: Job, published: Path) -> None:
    if published.exists() and not is_artefact(published):
        raise JobError(f"{published} is no artefact any more; nothing was deleted. Remove it by hand.")
    users = users_of(store, job)
    if users:
        raise JobError(f"{published.name!r} is used by {', '.join(users)}; nothing was deleted. Delete those first.")


def _artefacts_based_on(published: Path, artefacts: Path) -> Iterator[str]:
    for path in artefacts.iterdir() if artefacts.is_dir() else ():
        if path == published or not is_artefact(path):
            continue
        with suppress(ArtefactError):  # damaged or being written: it names no base
            base = read_artefact(path).manifest.base
            if base is not None and (base.id == published.name or (base.path and Path(base.path) == published)):
                yield f"artefact {path.name!r}"


def _jobs_using(store: JobStore, job: Job, published: Path) -> Iterator[str]:
    names = {published.name, str(published)}
    for other in store.list([state for state in JobState if state not in ENDED], limit=1000):
        if other.id != job.id and names & set(strings_in(other.config)):
            yield f"job {other.id}"
    for other in store.list([JobState.SUCCEEDED], limit=1000):
        if other.id != job.id and other.published == job.published:
            yield f"job {other.id}, which published there after it"


def strings_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from strings_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from strings_in(each)


def _restore(moved: dict[Path, Path]) -> None:
    for original, path in moved.items():
        with suppress(OSError):
            path.rename(original)
