"""Mixtures: planned rows and shares of each source, the same as a command, and saving one as a dataset.

Knows declared sizes of datasets. Rows left out as duplicates or by lints are known only after reading all rows.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from camelid_core.datasets import library
from camelid_core.datasets.sources import parse_sources
from camelid_core.errors import CamelidError
from camelid_core.mixing import Mixture, mix, rows_per_source
from camelid_core.quality import RowAccount

from camelid_ui.services.background_work import BackgroundRunner, BackgroundWork, ReportProgress

from .collection import DatasetCollection
from .dataset_entries import DatasetEntry
from .lints import with_progress

MAX_SOURCES = 60
TAG_SAMPLE_ROWS = 200
"""Rows of each dataset that are searched for tags."""


@dataclass(frozen=True, slots=True)
class MixturePart:
    """One source of a mixture: its rows, how many are taken (with repeats), and their share."""

    name: str
    weight: float
    rows: int
    taken: int
    share: float
    missing: str = ""


@dataclass(frozen=True, slots=True)
class SavedMixture:
    """A mixture saved as a dataset, and the account of each source's rows."""

    entry: DatasetEntry
    account: tuple[RowAccount, ...]


class MixService:
    """Plans mixtures and saves them."""

    def __init__(self, collection: DatasetCollection, background: BackgroundRunner) -> None:
        self.collection = collection
        self.background = background

    def plan(self, mixture: Mixture, sizes: Sequence[int] | None = None) -> list[MixturePart]:
        """The rows that each source would give, by the declared sizes of datasets or by those given.

        Raises:
            UnknownName, UsageError.
        """
        sources = parse_sources(mixture.sources, self.collection.host.datasets)
        entries = [self.collection.find(source.name) for source in sources]
        counts = rows_per_source(mixture, sources, sizes or [entry.rows for entry in entries])
        total = max(1, sum(counts))
        return [
            MixturePart(source.name, source.weight, entry.rows, count, count / total, entry.missing)
            for source, entry, count in zip(sources, entries, counts, strict=True)
        ]

    def tags(self, names: Sequence[str]) -> list[str]:
        """Tags of the first rows of these datasets, to choose which to leave out."""
        found: Counter[str] = Counter()
        for name in names:
            try:
                if self.collection.show(name).availability != "fetch":
                    found.update(
                        tag for record in self.collection.page(name, 0, TAG_SAMPLE_ROWS) for tag in record.tags
                    )
            except CamelidError:
                continue  # the plan shows the error
        return [tag for tag, _ in found.most_common(40)]

    def command(self, mixture: Mixture, name: str = "") -> str:
        """`camelid datasets mix` with these choices."""
        parts = ["camelid", "datasets", "mix", *(shlex.quote(source) for source in mixture.sources)]
        if mixture.temperature != 1:
            parts += ["--temperature", f"{mixture.temperature:g}"]
        for source, cap in mixture.caps.items():
            parts += ["--cap", shlex.quote(f"{source}={cap}")]
        if mixture.rows is not None:
            parts += ["--rows", str(mixture.rows)]
        if mixture.deduplicate != "no":
            parts += ["--dedupe", mixture.deduplicate]
        for flag, names in (("--drop-tag", mixture.drop_tags), ("--drop", mixture.drop_lints)):
            parts += [word for name in names for word in (flag, shlex.quote(name))]
        if mixture.seed:
            parts += ["--seed", str(mixture.seed)]
        return " ".join([*parts, "--name", shlex.quote(name or "my-mix")])

    def saving(self, name: str) -> BackgroundWork | None:
        return self.background.get(f"mix {name}")

    def save(self, mixture: Mixture, name: str) -> BackgroundWork:
        """Start writing the mixture as a dataset called `name`.

        Raises:
            UsageError, UnknownName, DataError: the name is taken, or a source is not here.
        """
        name = name.strip()
        library.refuse_taken(name)
        parts = self.plan(mixture)
        for part in parts:
            self.collection.dataset(part.name)
        terms = library.inherited([self.collection.find(part.name) for part in parts])

        def do(report: ReportProgress) -> SavedMixture:
            mixed = mix(mixture, self.collection.host.datasets, progress=lambda _name, row, _total: report(row))
            library.add(
                with_progress(mixed.records(), report), name, **terms,
                parent=", ".join(mixture.sources), step=self.command(mixture, name).rpartition(" --name ")[0],
            )  # fmt: skip
            return SavedMixture(self.collection.show(name), tuple(mixed.account))

        busy_message = f"a mixture {name!r} is being written; wait for its end, or give another name."
        return self.background.start(f"mix {name}", do, sum(part.taken for part in parts), busy_message=busy_message)


def source_text(name: str, weight: float) -> str:
    """A source with its weight, in recipe notation."""
    return name if weight == 1 else f"{name}:{weight:g}"
