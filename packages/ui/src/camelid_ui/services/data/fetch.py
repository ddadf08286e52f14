"""Fetching a dataset's files in the background. Knows datasets that can fetch themselves; knows no hub."""

from __future__ import annotations

from camelid_core.datasets.sources import open_dataset
from camelid_core.errors import UsageError

from camelid_ui.services.background_work import BackgroundRunner, BackgroundWork, ReportProgress

from .collection import DatasetCollection
from .dataset_entries import DatasetEntry


class FetchService:
    """Fetches datasets; an interrupted fetch continues, for complete files are kept."""

    def __init__(self, collection: DatasetCollection, background: BackgroundRunner) -> None:
        self.collection = collection
        self.background = background

    def running(self, name: str) -> BackgroundWork | None:
        return self.background.get(_key(name))

    def start(self, name: str) -> BackgroundWork:
        """Raises UnknownName; UsageError where the dataset cannot be fetched by the page."""
        fetch = open_dataset(name, self.collection.host.datasets).fetch
        if fetch is None:
            raise UsageError(f"{name!r} cannot be fetched from here. {self.collection.show(name).missing}")

        def do(report: ReportProgress) -> DatasetEntry:
            def file_progress(file: str, here: int, total: int) -> None:
                work = self.background.get(_key(name))
                if work is not None:
                    work.item, work.total = file, total
                report(here)

            fetch("", file_progress)
            return self.collection.show(name)

        return self.background.start(_key(name), do, unit="bytes")


def _key(name: str) -> str:
    return f"fetch {name}"
