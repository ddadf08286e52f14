"""The artefact: a directory with a manifest, `camelid.json`, written last. The only contract between train and serve.

Knows the manifest and how to verify a directory against it. Knows nothing of how artefacts are made.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import ArtefactError
from .integrity import refuse_pickles, safetensors_header, sha256, write_durably
from .licences import UNKNOWN, NonCommercial, combined, licence_id, non_commercial

MANIFEST = "camelid.json"
SCHEMA = 1
ArtefactKind = Literal["adapter", "model", "gptq", "gguf", "diff", "predictions", "evaluation"]
_PACKAGES = ("camelid-core", "camelid-train", "camelid-serve", "torch", "transformers", "peft", "tokenizers")


class _ManifestPart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BaseModelEntry(_ManifestPart):
    """The base model of an artefact. `fingerprint` as of `integrity.fingerprint`."""

    id: str
    path: str = ""
    revision: str = ""
    fingerprint: str = ""
    model_type: str = ""


class TemplateContract(_ManifestPart):
    """How the model must be prompted: its prompt template; `reference_ids` are the token ids of a fixed prompt."""

    name: str
    jinja: str
    sha256: str
    reference_ids: list[int] = []
    overrides: str = ""


class DatasetUse(_ManifestPart):
    """A dataset as it was trained on; `sha256` is over the records used. `generator` are the terms of the services that
    wrote its answers."""

    id: str
    rows: int
    sha256: str
    licence: str = UNKNOWN
    generator: list[str] = []


class Licences(_ManifestPart):
    """Licences of base model, data and generators of the data apart, as `camelid_core.licences` writes them.
    `effective` is the expression for base and data at once, and `non_commercial` whether it excludes commercial use."""

    base: str = UNKNOWN
    data: list[str] = []
    generator: list[str] = []
    effective: str = UNKNOWN
    non_commercial: NonCommercial = UNKNOWN

    @classmethod
    def of(cls, base: str, datasets: Sequence[DatasetUse] = (), generator: Sequence[str] = ()) -> Self:
        """Of a model made from `base`, which brings the terms `generator` along, and `datasets`."""
        effective = combined([base, *(use.licence for use in datasets)])
        terms = {*generator, *(term for use in datasets for term in use.generator)}
        return cls(
            base=licence_id(base),
            data=sorted({licence_id(use.licence) for use in datasets}),
            generator=sorted(terms),
            effective=effective,
            non_commercial=non_commercial(effective),
        )


class FileEntry(_ManifestPart):
    size: int
    sha256: str


class Manifest(_ManifestPart):
    """How an artefact was made. Every model card and README is made from it. `models` are the base models by label
    where there are several; `base` is then that of the first."""

    schema_version: int = SCHEMA
    kind: ArtefactKind
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    base: BaseModelEntry | None = None
    models: dict[str, BaseModelEntry] = {}
    template: TemplateContract | None = None
    datasets: list[DatasetUse] = []
    parameters: dict[str, Any] = {}
    rope_scaling: dict[str, Any] | None = None
    licences: Licences = Licences()
    packages: dict[str, str] = {}
    plugins: dict[str, str] = {}
    metrics: dict[str, Any] = {}
    files: dict[str, FileEntry] = {}


@dataclass(frozen=True, slots=True)
class Artefact:
    """A directory whose manifest was read."""

    path: Path
    manifest: Manifest


def write_manifest(directory: Path, manifest: Manifest) -> Artefact:
    """List and hash every file of `directory`, record package versions, and write the manifest last and durably.

    Raises:
        UnsafeFormat: a pickle is among the files.
    """
    refuse_pickles(directory)
    paths = [path for path in sorted(directory.rglob("*")) if path.is_file() and path.name != MANIFEST]
    with ThreadPoolExecutor() as pool:  # hashing leaves the interpreter to others, and each shard takes a second
        hashes = list(pool.map(sha256, paths))
    files = {
        path.relative_to(directory).as_posix(): FileEntry(size=path.stat().st_size, sha256=digest)
        for path, digest in zip(paths, hashes, strict=True)
    }
    complete = manifest.model_copy(update={"files": files, "packages": package_versions()})
    write_durably(directory / MANIFEST, complete.model_dump_json(indent=2).encode())
    return Artefact(directory, complete)


def is_artefact(directory: Path) -> bool:
    return (directory / MANIFEST).is_file()


def read_artefact(directory: Path) -> Artefact:
    """Read the manifest without hashing the files.

    Raises:
        ArtefactError: no manifest, a damaged one, or one from a newer Camelid.
    """
    path = directory / MANIFEST
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtefactError(f"{str(directory)!r} is no artefact: it has no {MANIFEST}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{str(path)!r} cannot be read: {error}") from None
    schema = values.get("schema_version") if isinstance(values, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise ArtefactError(f"{str(path)!r} was written by a newer Camelid (schema {schema}); upgrade.")
    try:
        return Artefact(directory, Manifest.model_validate(values))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ArtefactError(f"{str(path)!r} is damaged at {where!r}: {first['msg']}.") from None


def verify_directory(directory: Path) -> Artefact:
    """Check every file against the manifest: present, right size, right SHA-256, nothing that runs code.

    Raises:
        ArtefactError: naming the first file that differs.
        UnsafeFormat: a pickle, listed or not.
    """
    artefact = read_artefact(directory)
    refuse_pickles(directory)
    for name, entry in artefact.manifest.files.items():
        path = directory / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise ArtefactError(f"{str(directory)!r}: the manifest names a file outside the directory, {name!r}.")
        if not path.is_file():
            raise ArtefactError(f"{str(directory)!r} lacks {name!r}, which its manifest lists.")
        if path.stat().st_size != entry.size or sha256(path) != entry.sha256:
            raise ArtefactError(f"{name!r} in {str(directory)!r} is not the file that was written; copy it anew.")
        if path.suffix == ".safetensors":
            safetensors_header(path)
    return artefact


def package_versions() -> dict[str, str]:
    versions: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
