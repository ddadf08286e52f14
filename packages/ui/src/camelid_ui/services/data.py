"""The collection of instruction data: registered datasets and files that were added.

Knows where added files lie and how rows are paged. Knows nothing of tokens: `Lengths` asks `Models`.
"""

from __future__ import annotations

import functools
import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from camelid_core.datasets import Dataset, open_source
from camelid_core.errors import CamelidError, DataError, UnknownName, UsageError
from camelid_core.paths import data_dir, safe_name
from camelid_core.plugins import Host
from camelid_core.readers import read
from camelid_core.records import Record

from .models import Models

SUFFIXES = (".json", ".jsonl")
SAMPLE = 256
"""Rows that lengths are measured on."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One set. `source` is what a recipe says for it; `added` sets are files of ours and can be removed."""

    name: str
    source: str
    help: str
    licence: str
    languages: tuple[str, ...]
    rows: int
    heldout: int
    tags: tuple[str, ...]
    origin: str
    added: bool = False


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens per row of the first `SAMPLE` rows, under one template and tokenizer."""

    tokens: tuple[int, ...]
    trained: tuple[int, ...]

    def over(self, cutoff: int) -> int:
        return sum(length > cutoff for length in self.tokens)

    def bins(self, count: int = 24) -> list[tuple[int, int, int]]:
        """`(from, to, rows)` of a histogram."""
        if not self.tokens:
            return []
        width = max(1, -(-(max(self.tokens) + 1) // count))
        counts = [0] * (max(self.tokens) // width + 1)
        for length in self.tokens:
            counts[length // width] += 1
        return [(index * width, (index + 1) * width, rows) for index, rows in enumerate(counts)]


class Collection:
    """What can be trained on."""

    def __init__(self, host: Host, models: Models) -> None:
        self.host = host
        self.models = models
        self._lengths = functools.lru_cache(maxsize=32)(self._measure)

    def all(self, search: str = "", language: str = "") -> list[Entry]:
        """Added files first, then what plugins give."""
        entries = [*self._added(), *(self._registered(dataset) for dataset in self.host.datasets)]
        wanted = search.strip().lower()
        return [
            entry
            for entry in entries
            if (not language or language in entry.languages)
            and wanted in " ".join((entry.name, entry.help, *entry.tags, *entry.languages)).lower()
        ]

    def languages(self) -> list[str]:
        return sorted({language for dataset in self.host.datasets for language in dataset.languages})

    def show(self, name: str) -> Entry:
        """Raises UnknownName, with the nearest known name."""
        entries = {entry.name: entry for entry in self.all()}
        if name not in entries:
            raise UnknownName("dataset", name, entries)
        return entries[name]

    def names(self) -> list[str]:
        return [entry.name for entry in self.all()]

    def sources(self) -> list[tuple[str, str]]:
        """Label and recipe value of each set."""
        return [(entry.name, entry.source) for entry in self.all()]

    def page(self, name: str, start: int, size: int) -> list[Record]:
        """Rows `start` to `start + size`.

        Raises:
            UnknownName, DataError: no such set, or a row that cannot be read.
        """
        rows = self._dataset(name).load("train", start + size)
        return list(islice(rows, start, start + size))

    def record(self, name: str, index: int) -> Record:
        found = self.page(name, index, 1)
        if not found:
            raise UsageError(f"{name!r} has no row {index + 1}.")
        return found[0]

    def lengths(self, name: str, model: str, template: str = "") -> Lengths:
        """Raises UnknownName, ModelError."""
        return self._lengths(self.show(name).source, model, template, _version(self.show(name).source))

    def check(self, path: Path) -> int:
        """Read every row of a file; how many there are.

        Raises:
            DataError: naming the first row that does not fit.
            UsageError: no file of a kind that is read.
        """
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(f"{path.name!r} is neither .json nor .jsonl; save the data as one of these.")
        if not path.is_file():
            raise DataError(f"{str(path)!r} is no file on this machine.")
        return sum(1 for _ in read(path))

    def add(self, path: str | Path, name: str = "") -> Entry:
        """Check a file and copy it into the collection as `name` (its own name where none is given).

        Raises:
            DataError, UsageError: it cannot be read, or the name cannot be used or is taken.
        """
        source = Path(path).expanduser()
        if not source.is_absolute():
            raise UsageError(f"{str(path)!r}: give the whole path, from / or ~ on.")
        name = safe_name(name or source.stem, "dataset name")
        if name in self.names():
            raise UsageError(f"there is a dataset {name!r} already; give another name.")
        self.check(source)
        data_dir().mkdir(parents=True, exist_ok=True)
        draft = data_dir() / f".{secrets.token_hex(6)}"
        try:
            shutil.copyfile(source, draft)
            os.replace(draft, data_dir() / f"{name}{source.suffix.lower()}")  # noqa: PTH105
        finally:
            draft.unlink(missing_ok=True)
        return self.show(name)

    def remove(self, name: str) -> None:
        """Delete an added file."""
        entry = self.show(name)
        if not entry.added:
            raise UsageError(f"{name!r} comes with a plugin and cannot be removed here.")
        Path(entry.source).unlink()

    def _dataset(self, name: str) -> Dataset:
        return open_source(self.show(name).source, self.host.datasets)

    def _added(self) -> Iterable[Entry]:
        found = data_dir().iterdir() if data_dir().is_dir() else iter(())
        for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
            if path.suffix in SUFFIXES and not path.name.startswith(".") and path.stem not in self.host.datasets:
                rows = _count(path, _version(str(path)))
                yield Entry(path.stem, str(path), "", "unknown", (), rows, 0, ("file",), str(path), added=True)

    def _registered(self, dataset: Dataset) -> Entry:
        return Entry(
            name=dataset.name,
            source=dataset.name,
            help=dataset.help,
            licence=dataset.licence,
            languages=dataset.languages,
            rows=dataset.rows,
            heldout=dataset.heldout_rows,
            tags=dataset.tags,
            origin=dataset.source,
        )

    def _measure(self, source: str, model: str, template: str, _version: tuple[float, int]) -> Lengths:
        encoder = self.models.encoder(model, template)
        rows = open_source(source, self.host.datasets).load("train", SAMPLE)
        examples = encoder.examples([record.messages for record in islice(rows, SAMPLE)])
        trained = tuple(len(e.labels) - e.labels.count(-100) for e in examples)
        return Lengths(tuple(len(e.input_ids) for e in examples), trained)


def _version(source: str) -> tuple[float, int]:
    """Changes when the file does."""
    path = Path(source)
    if not path.is_absolute() or not path.is_file():
        return (0.0, 0)
    found = path.stat()
    return (found.st_mtime, found.st_size)


@functools.lru_cache(maxsize=64)
def _count(path: Path, _version: tuple[float, int]) -> int:
    """Rows of an added file; it was checked when it came."""
    try:
        return sum(1 for _ in read(path))
    except CamelidError:
        return 0
