"""The collection of instruction data: added datasets, then those of plugins; and the rows of each.

Knows where datasets come from and how they are found. Knows nothing of tokens, lints or mixtures.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

from camelid_core.datasets import library
from camelid_core.datasets.dataset import Dataset
from camelid_core.datasets.sources import all_datasets, open_dataset
from camelid_core.errors import CamelidError, DataError, UnknownName, UsageError
from camelid_core.plugins import Host
from camelid_core.records import Record

from .dataset_entries import DatasetEntry, entry_of
from .rows import RowReader

COUNT_UP_TO = 100_000


class DatasetCollection:
    """Datasets that can be trained on."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._rows = functools.lru_cache(maxsize=8)(self._open_rows)
        self._counts = functools.lru_cache(maxsize=64)(self._count_rows)

    def all(self, search: str = "", chosen: Mapping[str, str] | None = None) -> list[DatasetEntry]:
        """Added datasets first, the newest before the others, then those of plugins."""
        return [entry for entry in self._entries() if entry.matches(search, chosen or {})]

    def show(self, name: str) -> DatasetEntry:
        """Raises UnknownName, with the nearest known name."""
        entries = {entry.name: entry for entry in self._entries()}
        if name not in entries:
            raise UnknownName("dataset", name, entries)
        return entries[name]

    def facts(self, name: str) -> dict[str, str]:
        """Further facts about a dataset on this machine, from its plugin."""
        return {key: text for key, text in open_dataset(name, self.host.datasets).facts().items() if text}

    def names(self) -> list[str]:
        return [entry.name for entry in self._entries()]

    def sources(self) -> list[tuple[str, str]]:
        """Label and recipe value of each dataset whose rows are on this machine."""
        return [(entry.name, entry.source) for entry in self._entries() if entry.availability != "fetch"]

    def find(self, source: str) -> DatasetEntry:
        """The dataset that a recipe calls `source`: by its name or an alias, or a file outside the collection.

        Raises:
            UnknownName, DataError.
        """
        known = next((entry for entry in self._entries() if source in (entry.name, entry.source)), None)
        if known is not None:
            return known
        entry = entry_of(open_dataset(source, self.host.datasets))
        return entry if entry.rows or entry.availability == "fetch" else replace(entry, rows=self._count(source))

    def dataset(self, name: str) -> Dataset:
        """Raises UnknownName, and DataError that says what to fetch where the rows are not on this machine."""
        found = open_dataset(name, self.host.datasets)
        missing = found.missing()
        if missing:
            raise DataError(missing)
        return found

    def records(self, name: str) -> Iterator[Record]:
        """All training rows, streaming."""
        return self.dataset(name).load("train", None)

    def page(self, name: str, start: int, size: int) -> list[Record]:
        """Rows `start` to `start + size`.

        Raises:
            UnknownName, DataError: no such dataset, or a row that cannot be read.
        """
        return self.rows(name).page(start, size)

    def rows(self, name: str) -> RowReader:
        return self._rows(name, self.version(name))

    def record(self, name: str, index: int) -> Record:
        found = self.page(name, index, 1)
        if not found:
            raise UsageError(f"{name!r} has no row {index + 1}.")
        return found[0]

    def remove(self, name: str) -> None:
        """Delete an added dataset."""
        if not self.show(name).added:
            raise UsageError(f"{name!r} comes with a plugin and cannot be removed here.")
        library.remove(name)

    def version(self, source: str) -> str:
        """Changes when the rows do: results for an older version are out of date."""
        about = _about(source)
        return about.sha256 if about else _file_version(Path(open_dataset(source, self.host.datasets).source))

    def _entries(self) -> Iterable[DatasetEntry]:
        for dataset in all_datasets(self.host.datasets):
            if dataset.name in self.host.datasets:
                try:
                    entry = entry_of(dataset)
                except (Exception, SystemExit) as error:  # a plugin's dataset that fails must not take the others along
                    self.host.report(self.host.datasets.plugin_of(dataset.name), error, f"dataset {dataset.name!r}")
                else:
                    yield entry
                continue
            about = _about(dataset.name)
            entry = entry_of(dataset, "added")
            if about is None:  # a file that was put there by hand
                yield replace(entry, rows=self._count(dataset.name))
            else:
                yield replace(entry, parent=about.parent, step=about.step, created=about.created)

    def _count(self, source: str) -> int:
        """Rows of a file, counted up to `COUNT_UP_TO` for a list."""
        return self._counts(source, self.version(source))

    def _count_rows(self, source: str, _version: str) -> int:
        try:
            return sum(1 for _ in islice(self.records(source), COUNT_UP_TO))
        except CamelidError:
            return 0  # the error is shown when the rows are

    def _open_rows(self, name: str, _version: str) -> RowReader:
        return RowReader(lambda: self.records(name))


def _about(name: str) -> library.DatasetDescription | None:
    try:
        return library.read_description(name)
    except CamelidError:
        return None


def _file_version(path: Path) -> str:
    if not path.is_absolute() or not path.is_file():
        return ""
    found = path.stat()
    return f"{found.st_mtime_ns}-{found.st_size}"
