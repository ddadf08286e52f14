"""Everything the Data page can do: collection, adding files, fetching, lengths, lints, mixtures, token cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from camelid_core.plugins import Host

from camelid_ui.services.background_work import BackgroundRunner
from camelid_ui.services.models import ModelService

from .add import AddService
from .cache import TokenCacheService
from .collection import DatasetCollection
from .dataset_entries import DatasetEntry
from .fetch import FetchService
from .lengths import LengthService, TokenLengths
from .lints import LintService
from .mix import MixService

__all__ = ["DataServices", "DatasetCollection", "DatasetEntry", "TokenLengths"]


@dataclass(frozen=True)
class DataServices:
    """One of each, over the same collection."""

    collection: DatasetCollection
    add: AddService
    fetch: FetchService
    lengths: LengthService
    lints: LintService
    mix: MixService
    cache: TokenCacheService

    @classmethod
    def open(cls, host: Host, models: ModelService, directory: Path | None = None) -> Self:
        """`directory` is for notes on running background work."""
        collection, background = DatasetCollection(host), BackgroundRunner(directory)
        return cls(
            collection=collection,
            add=AddService(collection, background),
            fetch=FetchService(collection, background),
            lengths=LengthService(collection, models, background),
            lints=LintService(collection, background),
            mix=MixService(collection, background),
            cache=TokenCacheService(),
        )
