"""Files → datasets of the collection: detect the format, map columns, preview and add.

Knows paths, readers and faults. Knows nothing of tokens. Files are streamed, whatever their size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path

from camelid_core.datasets import library
from camelid_core.errors import CamelidError, DataError, UsageError
from camelid_core.integrity import sha256
from camelid_core.paths import validated_path
from camelid_core.readers import (
    COMPRESSED_SUFFIXES,
    SUFFIXES,
    Columns,
    Detection,
    Faults,
    all_readers,
    detect,
    has_data_suffix,
    read,
    uncompressed_name,
)
from camelid_core.records import Record

from camelid_ui.services.background_work import BackgroundRunner, BackgroundWork, ReportProgress

from .collection import DatasetCollection
from .dataset_entries import DatasetEntry
from .lints import with_progress

PREVIEW_ROWS = 200
"""Rows that a preview reads."""
MAPPED = "mapped"
ROLES = tuple(field.name for field in fields(Columns))
"""What a column can be mapped to."""
LICENCES = (
    "unknown", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "apache-2.0", "mit", "odc-by", "proprietary",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """How to read a file. An empty `reader` takes the detected one; `columns` maps role → column, for `mapped`."""

    path: Path
    reader: str = ""
    columns: Mapping[str, str] | None = None
    strict: bool = True

    @property
    def mapping(self) -> Columns | None:
        chosen = {role: column for role, column in (self.columns or {}).items() if column}
        return Columns(**chosen) if self.reader == MAPPED else None


@dataclass(frozen=True, slots=True)
class FilePreview:
    """The first records, and the faults in the first `PREVIEW_ROWS` rows. `error` is why there are none."""

    records: tuple[Record, ...]
    rows: int
    faults: Faults
    error: str = ""


@dataclass(frozen=True, slots=True)
class ImportedDataset:
    """A file that became a dataset; `faults` are the rows left out."""

    entry: DatasetEntry
    faults: Faults


class AddService:
    """Previews files and adds them to the collection."""

    def __init__(self, collection: DatasetCollection, background: BackgroundRunner) -> None:
        self.collection = collection
        self.background = background

    def find(self, text: str) -> Path:
        """The file that somebody typed or uploaded.

        Raises:
            UsageError, DataError: no whole path, no file, or none of a kind that is read.
        """
        path = validated_path(text.strip(), "file")
        if not path.is_absolute():
            raise UsageError(f"{text!r}: give the whole path, from / or ~ on.")
        if path.is_dir():
            raise DataError(f"{str(path)!r} is a directory; name a file in it.")
        if not path.is_file():
            raise DataError(f"{str(path)!r} is no file on this machine.")
        if not has_data_suffix(path):
            allowed = f"{', '.join(SUFFIXES)}, nor one of these with {' or '.join(COMPRESSED_SUFFIXES)}"
            raise UsageError(f"{path.name!r} is none of {allowed}; save the data as one of these.")
        return path

    def detect(self, path: Path) -> Detection:
        """Raises DataError: it cannot be read at all."""
        return detect(path)

    def preview(self, plan: ImportPlan, count: int = 3) -> FilePreview:
        """The first rows as records; errors of a row or of the whole file are returned, not raised."""
        faults = Faults(strict=False)
        records: list[Record] = []
        rows = 0
        try:
            _check(plan)
            stream = read(plan.path, plan.reader, plan.mapping, faults)
            for record in islice(stream, PREVIEW_ROWS):
                rows += 1
                records += [record] if len(records) < count else []
        except CamelidError as error:
            return FilePreview(tuple(records), rows, faults, str(error))
        return FilePreview(tuple(records), rows, faults)

    def name_for(self, path: Path) -> str:
        """A free dataset name made from the file's name."""
        stem = "".join(
            c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in uncompressed_name(path).stem
        ).strip("-._")
        stem = stem[:60] or "data"
        return library.next_version_name(stem) if stem in self.collection.names() else stem

    def running(self, name: str) -> BackgroundWork | None:
        return self.background.get(f"add {name}")

    def start(self, plan: ImportPlan, name: str = "", licence: str = "unknown") -> BackgroundWork:
        """Start reading the file into the collection.

        Raises:
            DataError, UsageError: it cannot be read so, or the name cannot be used or is taken.
        """
        _check(plan)
        name = name.strip() or uncompressed_name(plan.path).stem
        library.refuse_taken(name)

        def do(report: ReportProgress) -> ImportedDataset:
            return self._import(plan, name, licence, report)

        busy_message = f"a set {name!r} is being added; wait for its end, or give another name."
        return self.background.start(f"add {name}", do, busy_message=busy_message)

    def add(self, path: str | Path, name: str = "", licence: str = "unknown") -> DatasetEntry:
        """Read a whole file into the collection, strictly, at once."""
        plan = ImportPlan(self.find(str(path)))
        return self._import(plan, name.strip() or uncompressed_name(plan.path).stem, licence, lambda _: None).entry

    def _import(self, plan: ImportPlan, name: str, licence: str, report: ReportProgress) -> ImportedDataset:
        faults = Faults(strict=plan.strict)
        records = read(plan.path, plan.reader, plan.mapping, faults)
        reader = str(plan.mapping) if plan.mapping else plan.reader
        library.add(
            with_progress(records, report), name, licence=licence or "unknown", source=plan.path.name, reader=reader,
            faults=faults, file_sha256=sha256(plan.path),
        )  # fmt: skip
        return ImportedDataset(self.collection.show(name), faults)


def readers() -> list[str]:
    """Names of all readers, those of plugins too."""
    return list(all_readers())


def _check(plan: ImportPlan) -> None:
    """Raises UsageError: columns were not chosen that have to be."""
    if plan.reader == MAPPED and (plan.mapping is None or not plan.mapping.is_complete):
        raise UsageError(
            "Choose the columns that hold instruction and output, or the one of messages, or the one of texts alone."
        )
