"""What a job reads on the server: models, data, files and earlier attempts, each as a tree of files by content.

Knows references, where they lead on this machine, and where they belong in the home of a job elsewhere. A thing that has
a name here gets the same name there, so that manifests and templates do not depend on where a job ran.
Knows nothing of networks. Loads no weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from camelid_core.config import Config, validate
from camelid_core.datasets import library
from camelid_core.datasets.sources import parse_sources
from camelid_core.errors import CamelidError, JobError, UsageError
from camelid_core.jobs.job import Job
from camelid_core.jobs.publication import destination
from camelid_core.jobs.run_directories import attempt_directory, earlier_attempts
from camelid_core.models.gguf import is_gguf
from camelid_core.models.legacy_gptq import origin_of
from camelid_core.models.resolved_model import pulled_dir, resolve_model
from camelid_core.paths import HUB_PREFIX, LOCAL_HUB_PREFIX, safe_name, validated_path
from camelid_core.plugins import Host
from camelid_core.references import references

from .attempt_files import travels
from .file_hashes import FileHashes
from .protocol import FileContent, InputTree, JobInputs

_BESIDE_GGUF = (".json", ".jinja", ".model", ".txt")
_MOST_BESIDE = 100_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """`source` on this machine belongs to `place` below the job's home; `only` are the files of it that are meant."""

    source: Path
    place: str
    only: frozenset[str] | None = None


def why_not_portable(job: Job, host: Host) -> str:
    """Why a job can only run on this machine; empty where it can run on another."""
    if job.task not in host.tasks:
        return f"there is no task {job.task!r} here"
    task = host.tasks[job.task]
    if not task.portable:
        return f"{job.task} jobs run on this machine alone"
    try:
        config = validate(task.load_config(), job.config, f"job {job.id}")
        return next((reason for kind, text in references(config) if (reason := _only_here(kind, text, host))), "")
    except CamelidError as error:
        return str(error)


def _only_here(kind: str, text: str, host: Host) -> str:
    if kind == "here":
        return f"{text!r} is set, which means something on this machine alone"
    if text.startswith(LOCAL_HUB_PREFIX):
        return f"{text!r} is in a local hub of this machine"
    if kind == "data":
        for source in parse_sources([text], host.datasets):
            if source.name in host.datasets and host.datasets[source.name].fetch is not None:
                return f"the rows of {source.name!r} were fetched to this machine"
    return ""


def check_destination(job: Job, host: Host) -> None:
    """Raises JobError where the job's result could not be put where it wants it: before the work, not after it."""
    destination(config_of(job, host))


def config_of(job: Job, host: Host) -> Config:
    return validate(host.tasks[job.task].load_config(), job.config, f"job {job.id}")


def job_inputs(home: Path, job: Job, host: Host, hashes: FileHashes) -> tuple[JobInputs, dict[str, Path]]:
    """What the job reads, and where each content lies on this machine.

    Raises:
        CamelidError: a name is not known, or nothing is there.
    """
    files: dict[str, Path] = {}

    def noted(top: Path, listing: dict[str, FileContent]) -> dict[str, FileContent]:
        files.update({content.sha256: top / name for name, content in listing.items()})
        return listing

    trees = []
    for each in _places(home, config_of(job, host), host):
        only = each.only
        listing = hashes.listing(each.source, lambda name, only=only: _is_meant(name, only), links=True)  # type: ignore[misc]
        trees.append(InputTree(place=each.place, source=str(each.source), files=noted(each.source, listing)))
    attempt = attempt_directory(home, job.id, job.epoch)
    earlier = {int(path.name): noted(path, hashes.listing(path, travels)) for path in earlier_attempts(attempt)}
    return JobInputs(home=str(home), trees=trees, earlier=earlier), files


def _is_meant(name: str, only: frozenset[str] | None) -> bool:
    """Hidden files, such as a repository's own, are no part of a model."""
    return name in only if only is not None else not any(part.startswith(".") for part in name.split("/"))


def _places(home: Path, config: Config, host: Host) -> list[Place]:
    """Each place once; those outside the home are numbered by their directories."""
    found: dict[tuple[Path, frozenset[str] | None], Place] = {}
    outside: dict[Path, str] = {}
    for place in _found_places(home, config, host):
        if not place.place:
            name = outside.setdefault(place.source, f"inputs/{len(outside)}/{_plain(place.source.name)}")
            place = replace(place, place=name)
        found.setdefault((place.source, place.only), place)
    return list(found.values())


def _found_places(home: Path, config: Config, host: Host) -> Iterator[Place]:
    for kind, text in references(config):
        if kind == "model":
            yield from _model(home, text, host)
        elif kind == "data":
            yield from _data(home, text, host)
        elif kind == "file" and (path := validated_path(text)).is_file():
            yield _file(home, path)


def _model(home: Path, text: str, host: Host) -> Iterator[Place]:
    resolved = resolve_model(text, host)
    whole, base = (resolved.adapter_dir, resolved.base) if resolved.adapter_dir else (resolved.base, None)
    yield _model_place(home, text, whole)
    if base is not None:
        names = [resolved.manifest.base.id] if resolved.manifest and resolved.manifest.base else []
        yield _model_place(home, next((name for name in names if _found_as(home, name, base)), str(base)), base)


def _model_place(home: Path, text: str, found: Path) -> Place:
    if is_gguf(found):
        return _file(home, found, _files_beside(found))
    source = Path(origin_of(found) or found)
    name = _found_as(home, text, source)
    if not name and not source.is_relative_to(home) and not text.startswith((".", "/", "~")) and text.count("/") == 1:
        name = f"models/{pulled_dir(text).name}"  # from Hugging Face's cache: there as if it had been pulled
    return Place(source, name or _below_home(home, source))


def _found_as(home: Path, text: str, found: Path) -> str:
    """Where in the home a name leads to `found`, which it may do by a link."""
    names = [text]
    with suppress(UsageError):
        names.append(pulled_dir(text).name)
    for name in names:
        for parent in ("artefacts", "models"):
            with suppress(UsageError):
                path = home / parent / safe_name(name)
                if path.resolve() == found:
                    return f"{parent}/{name}"
    return ""


def _data(home: Path, text: str, host: Host) -> Iterator[Place]:
    for source in parse_sources([text], host.datasets):
        if source.name.startswith(HUB_PREFIX) or source.name in host.datasets:
            continue  # made by code, or streamed from the Hub: the same on every machine
        if library.has(source.name):
            yield from _library(home, source.name)
        elif (path := validated_path(source.name, "dataset")).is_file():
            yield _file(home, path)


def _library(home: Path, name: str) -> Iterator[Place]:
    directory = home / "data" / name
    if directory.is_dir():
        yield Place(directory, f"data/{name}")
        return
    path = Path(library.get(name).source)  # a file that was put there by hand
    yield Place(path.parent, "data", frozenset({path.name}))


def _file(home: Path, path: Path, beside: Iterable[str] = ()) -> Place:
    path = path.absolute()
    if not path.is_file():
        raise JobError(f"{str(path)!r} is no file any more.")
    return Place(path.parent, _below_home(home, path.parent), frozenset({path.name, *beside}))


def _files_beside(gguf: Path) -> list[str]:
    """A tokenizer and a template beside a GGUF file belong to it."""
    return [
        path.name
        for path in gguf.parent.iterdir()
        if path.suffix in _BESIDE_GGUF and path.is_file() and path.stat().st_size < _MOST_BESIDE
    ]


def _below_home(home: Path, path: Path) -> str:
    """Where it lies in the home; empty outside."""
    return path.relative_to(home).as_posix() if path.is_relative_to(home) and path != home else ""


def _plain(name: str) -> str:
    try:
        return safe_name(name)
    except UsageError:
        return "files"
