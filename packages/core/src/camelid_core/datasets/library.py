"""The library: datasets that people added, each a directory with its rows in one format and a description.

Knows where they are, their names and versions. Knows nothing of how their rows were read or changed.
The directory appears when all rows are written (staging), so that no half-written dataset is ever found.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, TypedDict

from camelid_core import staging, strict_json
from camelid_core.errors import DataError, UnknownName, UsageError
from camelid_core.file_permissions import PRIVATE_DIRECTORY_MODE, PRIVATE_FILE_MODE, make_private_directory
from camelid_core.integrity import sha256
from camelid_core.licences import combined, licence_id
from camelid_core.paths import data_dir, safe_name
from camelid_core.readers import Faults, has_data_suffix, read, uncompressed_name
from camelid_core.records import Record
from camelid_core.writers import write

from .dataset import Dataset
from .files import file_dataset
from .noted_records import noted

ROWS = "records.jsonl"
ABOUT = "about.json"
_VERSION = re.compile(r"(.+)-v(\d+)")


@dataclass(frozen=True, slots=True)
class DatasetDescription:
    """Metadata of an added dataset. `sha256` is that of the rows as they are here, `file_sha256` of the file that they
    were read from. `parent` and `step`: the dataset it was made from, and how."""

    name: str
    rows: int
    sha256: str
    licence: str = "unknown"
    languages: tuple[str, ...] = ()
    source: str = ""
    parent: str = ""
    step: str = ""
    help: str = ""
    reader: str = ""
    created: float = 0.0
    generator: tuple[str, ...] = ()
    citation: str = ""
    file_sha256: str = ""


class Described(Protocol):
    """What a dataset passes on to those made from it: a dataset, or an entry of a listing."""

    @property
    def licence(self) -> str: ...
    @property
    def languages(self) -> tuple[str, ...]: ...
    @property
    def generator(self) -> tuple[str, ...]: ...
    @property
    def citation(self) -> str: ...


class Inherited(TypedDict):
    """Arguments of `add`."""

    licence: str
    languages: tuple[str, ...]
    generator: tuple[str, ...]
    citation: str


def inherited(parts: Sequence[Described]) -> Inherited:
    """What a dataset made from `parts` takes from all of them."""
    return {
        "licence": combined(part.licence for part in parts),
        "languages": _each_once(part.languages for part in parts),
        "generator": _each_once(part.generator for part in parts),
        "citation": "\n\n".join(filter(None, _each_once(part.citation.split("\n\n") for part in parts))),
    }


def _each_once(groups: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for texts in groups for text in texts))


def add(
    records: Iterable[Record],
    name: str,
    *,
    licence: str = "unknown",
    languages: Sequence[str] = (),
    source: str = "",
    parent: str = "",
    step: str = "",
    help: str = "",
    reader: str = "",
    generator: Sequence[str] = (),
    citation: str = "",
    file_sha256: str = "",
    faults: Faults | None = None,
) -> Dataset:
    """Write `records` into the library as `name`.

    Raises:
        UsageError: the name cannot be used or is taken.
        DataError: no records, or one that cannot be written.
    """
    refuse_taken(name)
    with staging.directory(make_private_directory(data_dir()) / name, PRIVATE_DIRECTORY_MODE) as staged:
        rows = write(records, staged / ROWS, "messages", faults)
        if not rows:
            raise DataError(f"there are no rows to make dataset {name!r} from.", "dataset_empty")
        description = DatasetDescription(
            name,
            rows,
            sha256(staged / ROWS),
            licence_id(licence),
            tuple(languages),
            source,
            parent,
            step,
            help,
            reader,
            time.time(),
            tuple(generator),
            citation,
            file_sha256,
        )
        (staged / ABOUT).write_text(json.dumps(asdict(description), ensure_ascii=False, indent=2) + "\n", "utf-8")
        for path in staged.iterdir():
            path.chmod(PRIVATE_FILE_MODE)
        refuse_taken(name)  # it may have been added meanwhile
        staged.rename(data_dir() / name)
    return get(name)


def added() -> list[Dataset]:
    """The latest first; what cannot be read is left out."""
    found = [(_added_at(path), path) for path in _dataset_paths()]
    return [dataset for _, path in sorted(found, reverse=True) if (dataset := _dataset(path)) is not None]


def get(name: str) -> Dataset:
    """Raises UnknownName, with the nearest known name."""
    dataset = _dataset(_dataset_path(name))
    if dataset is None:
        raise DataError(f"dataset {name!r} cannot be read: {str(_dataset_path(name) / ABOUT)!r} is damaged.")
    return dataset


def has(name: str) -> bool:
    return any(_name(path) == name for path in _dataset_paths())


def remove(name: str) -> None:
    """Raises UnknownName."""
    path = _dataset_path(name)
    if path.is_file():
        path.unlink()
        return
    with staging.set_aside(path):
        pass


def read_description(name: str) -> DatasetDescription:
    """Raises UnknownName; DataError where the description is damaged or, for a plain file, was never written."""
    description = _read_description_file(_dataset_path(name))
    if description is None:
        raise DataError(f"dataset {name!r} has no description; remove it and add it again.")
    return description


def next_version_name(name: str) -> str:
    """The next free version of a name: data → data-v2, data-v2 → data-v3."""
    versioned = _VERSION.fullmatch(name)
    base, number = (versioned[1], int(versioned[2])) if versioned else (name, 1)
    while is_taken(fresh := f"{base[: 63 - len(str(number + 1)) - 1]}-v{number + 1}"):
        number += 1
    return fresh


def is_taken(name: str) -> bool:
    """Whether an added or a registered dataset has this name."""
    from camelid_core.plugins import load_host

    return has(name) or name in load_host().datasets


def refuse_taken(name: str) -> None:
    """Raises UsageError: the name cannot be used, or a dataset has it already."""
    safe_name(name, "dataset name")
    if is_taken(name):
        raise UsageError(f"there is a dataset {name!r} already; {next_version_name(name)!r} would be free.")


def _dataset_paths() -> Iterator[Path]:
    """Directories of added datasets, and data files that were put there by hand."""
    for path in data_dir().iterdir() if data_dir().is_dir() else ():
        if not path.name.startswith(".") and ((path / ABOUT).is_file() or (has_data_suffix(path) and path.is_file())):
            yield path


def _dataset_path(name: str) -> Path:
    places = {_name(path): path for path in _dataset_paths()}
    if name not in places:
        raise UnknownName("added dataset", name, places)
    return places[name]


def _name(path: Path) -> str:
    return path.name if path.is_dir() else uncompressed_name(path).stem


def _added_at(path: Path) -> float:
    description = _read_description_file(path)
    return description.created if description else path.stat().st_mtime


def _read_description_file(path: Path) -> DatasetDescription | None:
    try:
        values = strict_json.loads((path / ABOUT).read_text("utf-8"))
        for name in ("languages", "generator"):
            values[name] = tuple(values.get(name, ()))
        return DatasetDescription(**values)
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None


def _dataset(path: Path) -> Dataset | None:
    if path.is_file():
        return file_dataset(path, _name(path))
    description = _read_description_file(path)
    if description is None:
        return None

    return Dataset(
        name=path.name,
        help=description.help or f"Added from {description.source or description.parent or 'a file'}.",
        licence=description.licence,
        languages=description.languages,
        rows=description.rows,
        load=noted(lambda faults, _: read(path / ROWS, faults=faults), any_split=True),
        tags=("added",),
        source=description.source or description.parent,
        generator=description.generator,
        citation=description.citation,
        facts=lambda: {"file_sha256": description.file_sha256} if description.file_sha256 else {},
    )
