"""Everything the Data page can do, by room: collection, adding, fetching, lengths, checks, mixing, token cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from camelid_core.plugins import Host

from camelid_ui.services.background_work import Background
from camelid_ui.services.models import Models

from .add import Adding
from .cache import Cache
from .collection import Collection
from .dataset_entries import Entry
from .fetch import Fetching
from .lengths import Lengths, Measure
from .lints import Checks
from .mix import Mixing

__all__ = ["Collection", "Data", "Entry", "Lengths"]


@dataclass(frozen=True)
class Data:
    """One of each, over the same collection."""

    collection: Collection
    adding: Adding
    fetching: Fetching
    lengths: Measure
    checks: Checks
    mixing: Mixing
    cache: Cache

    @classmethod
    def open(cls, host: Host, models: Models, place: Path | None = None) -> Self:
        """`place` is a directory for notes on what is under way."""
        collection, background = Collection(host), Background(place)
        return cls(
            collection=collection,
            adding=Adding(collection, background),
            fetching=Fetching(collection, background),
            lengths=Measure(collection, models, background),
            checks=Checks(collection, background),
            mixing=Mixing(collection, background),
            cache=Cache(),
        )
