"""Lints over a dataset, and a cleaned copy of it without the rows they find.

Knows the first rows and, on request, all of them. Knows nothing of tokens; the dataset itself is never changed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from typing import Any

from camelid_core.datasets import library
from camelid_core.errors import UsageError
from camelid_core.quality import (
    CONTAMINATION,
    LINTS,
    DatasetStats,
    Lint,
    RowAccount,
    clean,
    compute_stats,
    evaluation_lint,
)
from camelid_core.records import Record

from camelid_ui.services.background_work import BackgroundRunner, BackgroundWork, ReportProgress

from .collection import DatasetCollection
from .dataset_entries import DatasetEntry

SAMPLE = 2000
"""Rows that are checked when a dataset is opened."""
REPORT_EVERY = 500
"""Rows between two reports of progress."""
DUPLICATES = {"duplicate": "exact", "near-duplicate": "near"}
"""Lints that `deduplicate` drops: the first of several copies stays."""


@dataclass(frozen=True, slots=True)
class LintReport:
    """Results of lints. `exact` where all rows were read, `thorough` where the costly lints ran too; `against` is the
    evaluation set that was searched for (contamination)."""

    found: DatasetStats
    exact: bool
    thorough: bool = False
    against: str = ""

    @property
    def problems(self) -> list[tuple[Lint, int, list[tuple[int, str]]]]:
        """Lint, rows and examples, the most frequent first."""
        rows = [
            (_displayed_lint(name), each.rows, each.examples) for name, each in self.found.findings.items() if each.rows
        ]
        return sorted(rows, key=lambda row: -row[1])

    @property
    def passed(self) -> list[str]:
        """Lints that found nothing."""
        return [name for name, each in self.found.findings.items() if not each.rows]


@dataclass(frozen=True, slots=True)
class CleanedDataset:
    """A dataset that was written from another, and the account of rows left out."""

    entry: DatasetEntry
    account: RowAccount


class LintService:
    """Runs lints and writes cleaned datasets."""

    def __init__(self, collection: DatasetCollection, background: BackgroundRunner) -> None:
        self.collection = collection
        self.background = background
        self._sample = functools.lru_cache(maxsize=32)(self._lint_sample)

    def sample(self, name: str) -> LintReport:
        """Of the first `SAMPLE` rows.

        Raises:
            UnknownName, DataError.
        """
        return self._sample(name, self.collection.version(name))

    def known(self, name: str) -> LintReport:
        """All rows where they were checked, else the sample."""
        work = self.checking(name)
        return work.result if work is not None and work.state == "done" else self.sample(name)

    def checking(self, name: str) -> BackgroundWork | None:
        return self.background.get(self._key(name))

    def check(self, name: str, against: str = "") -> BackgroundWork:
        """Start checking all rows, for near-duplicates too where datasketch is installed, and for contamination with
        the evaluation set `against`.

        Raises:
            UnknownName, DataError.
        """
        total = self.collection.show(name).rows
        records = self.collection.records(name)
        if against:
            self.collection.dataset(against)

        def do(report: ReportProgress) -> LintReport:
            known = self._known(against)
            lints = [*all_lints(), *known.keys() - LINTS.keys()]
            found = compute_stats(records, lints, known, progress=report)
            return LintReport(found, exact=True, thorough=True, against=against)

        return self.background.start(self._key(name), do, total)

    def writing(self, name: str) -> BackgroundWork | None:
        """The cleaned dataset of `name` that is being written or was written last."""
        return self.background.get(f"version {name}")

    def write(self, name: str, actions: Mapping[str, str], new_name: str = "") -> BackgroundWork:
        """Start writing a new dataset: `name` without the rows to `drop`, and with the rows to `fix` corrected.

        Raises:
            UsageError: nothing is ticked, or the name cannot be used.
            UnknownName, DataError.
        """
        if not actions:
            raise UsageError("Tick drop or fix at one of the lints first.")
        entry = self.collection.show(name)
        new_name = new_name.strip() or library.next_version_name(name)
        library.refuse_taken(new_name)
        records = self.collection.records(name)
        account = RowAccount(name)
        against = self.known(name).against if CONTAMINATION in actions else ""

        def do(report: ReportProgress) -> CleanedDataset:
            cleaned = clean(
                with_progress(records, report), lints=self._known(against), account=account, **clean_options(actions)
            )
            library.add(
                cleaned, new_name, **library.inherited([entry]), source=entry.origin,
                parent=name, step=clean_command_options(actions, against), help=entry.help,
            )  # fmt: skip
            return CleanedDataset(self.collection.show(new_name), account)

        busy_message = f"a new version of {name!r} is being written; wait for its end."
        return self.background.start(f"version {name}", do, entry.rows, busy_message=busy_message)

    def _known(self, against: str) -> dict[str, Lint]:
        """All lints, with the contamination lint where there is an evaluation set."""
        return LINTS | ({CONTAMINATION: evaluation_lint(against, self.collection.host.datasets)} if against else {})

    def _key(self, name: str) -> str:
        return f"check {name} {self.collection.version(name)}"

    def _lint_sample(self, name: str, _version: str) -> LintReport:
        records = self.collection.dataset(name).load("train", SAMPLE)
        found = compute_stats(islice(records, SAMPLE), languages=False)
        return LintReport(found, exact=found.rows < SAMPLE)


def all_lints() -> list[str]:
    """Lints that run by default, and those whose optional dependency is installed."""
    extra = find_spec("datasketch") is not None
    return [name for name, lint in LINTS.items() if lint.default or (lint.extra and extra)]


def clean_options(actions: Mapping[str, str]) -> dict[str, Any]:
    """Arguments for `clean`: duplicates are deduplicated, not dropped, so that the first of them stays."""
    drop = [name for name, action in actions.items() if action == "drop"]
    copies = [DUPLICATES[name] for name in drop if name in DUPLICATES]
    return {
        "drop": [name for name in drop if name not in DUPLICATES],
        "fix": [name for name, action in actions.items() if action == "fix"],
        "deduplicate": "near" if "near" in copies else "exact" if copies else "no",
    }


def clean_command_options(actions: Mapping[str, str], against: str = "") -> str:
    """The same as options of `camelid datasets clean`."""
    arguments = clean_options({lint: action for lint, action in actions.items() if lint != CONTAMINATION})
    parts = [f"--{name} {each}" for name in ("drop", "fix") for each in arguments[name]]
    if arguments["deduplicate"] != "no":
        parts.append(f"--dedupe {arguments['deduplicate']}")
    if CONTAMINATION in actions:
        parts.append(f"--against {against}")
    return " ".join(parts)


def _displayed_lint(name: str) -> Lint:
    """The lint of this name, to display; the contamination lint is built anew for each evaluation set."""
    return LINTS.get(name) or Lint(name, "A run of words that stands in the evaluation set, too.", lambda record: "")


def with_progress(records: Iterable[Record], report: ReportProgress) -> Iterator[Record]:
    """The same rows, reporting how many went by."""
    for count, record in enumerate(records, 1):
        yield record
        if count % REPORT_EVERY == 0:
            report(count)
