"""Everything the Data page can do, by room: collection, adding, fetching, lengths, checks, mixing, token cache."""

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
    adding: AddService
    fetching: FetchService
    lengths: LengthService
    checks: LintService
    mixing: MixService
    cache: TokenCacheService

    @classmethod
    def open(cls, host: Host, models: ModelService, place: Path | None = None) -> Self:
        """`place` is a directory for notes on what is under way."""
        collection, background = DatasetCollection(host), BackgroundRunner(place)
        return cls(
            collection=collection,
            adding=AddService(collection, background),
            fetching=FetchService(collection, background),
            lengths=LengthService(collection, models, background),
            checks=LintService(collection, background),
            mixing=MixService(collection, background),
            cache=TokenCacheService(),
        )
