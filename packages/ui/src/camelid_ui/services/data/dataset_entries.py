"""List entries of datasets: one `DatasetEntry` each, whether it was added, is on this machine or must be fetched.

Knows datasets and how people search for them. Knows no rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from camelid_core.datasets.dataset import Dataset

Availability = Literal["added", "here", "fetch"]
AVAILABILITIES: tuple[Availability, ...] = ("added", "here", "fetch")
FACETS = ("language", "task", "generation")
"""What a list can be filtered by."""


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """One dataset. `source` is its name in a recipe; `missing` says what to fetch where its rows are not on this
    machine, `fetchable` whether the page can do that."""

    name: str
    source: str
    help: str
    licence: str
    languages: tuple[str, ...]
    rows: int
    heldout: int = 0
    tags: tuple[str, ...] = ()
    origin: str = ""
    availability: Availability = "here"
    missing: str = ""
    fetchable: bool = False
    task: tuple[str, ...] = ()
    generation: str = ""
    kind: str = ""
    made_by: str = ""
    generator: tuple[str, ...] = ()
    url: str = ""
    citation: str = ""
    parent: str = ""
    step: str = ""
    created: float = 0.0

    @property
    def added(self) -> bool:
        """Whether it was added here, and can be removed."""
        return self.availability == "added"

    def facet(self, name: str) -> tuple[str, ...]:
        """Its values of one facet."""
        values = {"language": self.languages, "task": self.task, "generation": (self.generation,)}[name]
        return tuple(value for value in values if value)

    def matches(self, search: str, chosen: Mapping[str, str]) -> bool:
        """Whether it has every chosen facet value and contains the search words."""
        fits = all(not value or value in self.facet(name) for name, value in chosen.items())
        about = (self.name, self.help, self.kind, self.made_by, self.origin, *self.tags, *self.languages)
        text = " ".join(about).lower()
        return fits and all(word in text for word in search.lower().split())


def entry_of(dataset: Dataset, availability: Availability | None = None) -> DatasetEntry:
    missing = "" if availability == "added" else dataset.missing()
    return DatasetEntry(
        name=dataset.name,
        source=dataset.name,
        help=dataset.help,
        licence=dataset.licence,
        languages=dataset.languages,
        rows=dataset.rows,
        heldout=dataset.heldout_rows,
        tags=dataset.tags,
        origin=dataset.source,
        availability=availability or ("fetch" if missing else "here"),
        missing=missing,
        fetchable=bool(missing) and dataset.fetch is not None,
        task=tuple(part for part in dataset.task.split("/") if part),
        generation=dataset.generation,
        kind=dataset.kind,
        made_by=dataset.made_by,
        generator=dataset.generator,
        url=dataset.url,
        citation=dataset.citation,
    )


def facets(entries: Iterable[DatasetEntry]) -> dict[str, Counter[str]]:
    """How many datasets have each value of each facet."""
    found: dict[str, Counter[str]] = {name: Counter() for name in FACETS}
    for entry in entries:
        for name in FACETS:
            found[name].update(entry.facet(name))
    return found
