"""Statistics of a dataset from one pass over it, in bounded memory.

Knows how to count. Knows nothing of files, templates or terminals.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from camelid_core.errors import MissingPackage
from camelid_core.records import Record

from .language import LanguageSample
from .row_filter import select_lints
from .row_keys import NormalTurnsCache
from .row_lints import Lint

EXAMPLES = 3
"""Rows shown for each finding."""
MAX_NAMES = 200
"""Tags, and sources, counted one by one; the rest are counted together."""
_EXACT = 4096
"""Lengths up to here are counted one by one, longer ones by the 256: quantiles stay within 6 %."""
_EVERY = 2000

RowProgress = Callable[[int], None]


@dataclass(slots=True)
class LintFinding:
    """How many rows a lint found, and examples."""

    rows: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list)


@dataclass(slots=True)
class LengthHistogram:
    """A histogram of text lengths in characters."""

    total: int = 0
    longest: int = 0
    counts: Counter[int] = field(default_factory=Counter)

    def add(self, length: int) -> None:
        self.total += length
        if length > self.longest:
            self.longest = length
        self.counts[length if length <= _EXACT else length & ~255] += 1

    @property
    def rows(self) -> int:
        return self.counts.total()

    def quantile(self, share: float) -> int:
        """The quantile: the length that this share of the texts does not exceed."""
        left = share * self.rows
        for length in sorted(self.counts):
            left -= self.counts[length]
            if left <= 0:
                return length
        return self.longest

    def bins(self) -> list[tuple[int, int, int]]:
        """Lowest length, highest length and rows, in steps that double: 0, 1, 2–3, 4–7, 8–15 …"""
        steps: Counter[int] = Counter()
        for length, rows in self.counts.items():
            steps[length.bit_length()] += rows
        return [(1 << n >> 1, (1 << n) - 1, steps[n]) for n in range(max(steps, default=0) + 1)]

    def as_dict(self) -> dict[str, Any]:
        quantiles = {f"p{round(100 * share)}": self.quantile(share) for share in (0.5, 0.9, 0.99)}
        mean = round(self.total / self.rows, 1) if self.counts else 0.0
        bins = [{"from": low, "to": high, "rows": rows} for low, high, rows in self.bins()] if self.counts else []
        return {"total": self.total, "mean": mean, **quantiles, "longest": self.longest, "bins": bins}


@dataclass(slots=True)
class DatasetStats:
    """The statistics. `texts` are rows without turns, which count in none of the numbers of turns and answers.
    `languages` are shares of a sample; where they are None, `notes` says why."""

    rows: int = 0
    turns: Counter[int] = field(default_factory=Counter)
    with_system: int = 0
    with_context: int = 0
    texts: int = 0
    conversation: LengthHistogram = field(default_factory=LengthHistogram)
    answer: LengthHistogram = field(default_factory=LengthHistogram)
    tags: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    findings: dict[str, LintFinding] = field(default_factory=dict)
    languages: dict[str, float] | None = None
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON and for pages."""
        return {
            "rows": self.rows,
            "turns": {str(turns): rows for turns, rows in sorted(self.turns.items())},
            "with_system": self.with_system,
            "with_context": self.with_context,
            "texts": self.texts,
            "characters": self.conversation.as_dict(),
            "answer_characters": self.answer.as_dict(),
            "tags": dict(self.tags.most_common()),
            "sources": dict(self.sources.most_common()),
            "languages": self.languages,
            "lints": {
                name: {"rows": found.rows, "examples": [{"row": row, "what": what} for row, what in found.examples]}
                for name, found in self.findings.items()
            },
            "notes": self.notes,
            "seconds": round(self.seconds, 3),
        }


def compute_stats(
    records: Iterable[Record],
    lints: Iterable[str] | None = None,
    known: Mapping[str, Lint] | None = None,
    languages: bool = True,
    progress: RowProgress | None = None,
) -> DatasetStats:
    """Read `records` once. `lints` are names, None for those that run by default; `known` has further lints.

    Raises:
        UnknownName: a lint that is not known.
        MissingPackage: a lint was asked for that needs an extra.
    """
    found = DatasetStats()
    normalise = NormalTurnsCache()
    finds = [(name, lint.start(normalise)) for name, lint in select_lints(lints, known).items()]
    found.findings = {name: LintFinding() for name, _ in finds}
    sample = LanguageSample() if languages else None
    began = time.monotonic()
    for number, record in enumerate(records, 1):
        _count(found, record)
        for name, find in finds:
            what = find(record)
            if what:
                _note(found.findings[name], number, what)
        if sample is not None:
            sample.add(record)
        if progress is not None and number % _EVERY == 0:
            progress(number)
    if sample is not None and found.rows:
        try:
            found.languages = sample.shares()
        except MissingPackage as error:
            found.notes.append(str(error))
    found.seconds = time.monotonic() - began
    return found


def _count(found: DatasetStats, record: Record) -> None:
    found.rows += 1
    messages = record.messages
    if record.is_text:
        found.texts += 1
    else:
        found.turns[len(messages)] += 1
        found.answer.add(len(record.answer))
    length = 0
    for message in messages:
        length += len(message.content)
        if message.context:
            length += len(message.context)
            found.with_context += 1
    if messages and messages[0].role == "system":
        found.with_system += 1
    found.conversation.add(length)
    _tally(found.sources, record.source)
    for tag in record.tags:
        _tally(found.tags, tag)


def _tally(counts: Counter[str], name: str) -> None:
    if name:
        counts[name if name in counts or len(counts) < MAX_NAMES else "…"] += 1


def _note(finding: LintFinding, number: int, what: str) -> None:
    finding.rows += 1
    if len(finding.examples) < EXAMPLES:
        finding.examples.append((number, what))
