"""Bringing a set's files onto this machine, while pages look at it. Knows datasets that say how; knows no hub."""

from __future__ import annotations

from camelid_core.datasets.sources import open_source
from camelid_core.errors import UsageError

from camelid_ui.services.background_work import BackgroundRunner, BackgroundWork, ReportProgress

from .collection import DatasetCollection
from .dataset_entries import DatasetEntry


class FetchService:
    """What is interrupted goes on where it stopped: files that came whole stay."""

    def __init__(self, collection: DatasetCollection, background: BackgroundRunner) -> None:
        self.collection = collection
        self.background = background

    def running(self, name: str) -> BackgroundWork | None:
        return self.background.get(_key(name))

    def start(self, name: str) -> BackgroundWork:
        """Raises UnknownName; UsageError where the set cannot be fetched by itself."""
        fetch = open_source(name, self.collection.host.datasets).fetch
        if fetch is None:
            raise UsageError(f"{name!r} cannot be fetched from here. {self.collection.show(name).missing}")

        def do(report: ReportProgress) -> DatasetEntry:
            def told(file: str, here: int, total: int) -> None:
                work = self.background.get(_key(name))
                if work is not None:
                    work.item, work.total = file, total
                report(here)

            fetch("", told)
            return self.collection.show(name)

        return self.background.start(_key(name), do, unit="bytes")


def _key(name: str) -> str:
    return f"fetch {name}"
