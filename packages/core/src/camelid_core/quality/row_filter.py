"""The row filter: leaves rows out by tag, by lint or as duplicates, and accounts for each.

Knows reasons and counts. Knows nothing of files, weights or order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from camelid_core.errors import UnknownName, UsageError
from camelid_core.records import Record

from .near_duplicates import NearDuplicateIndex
from .row_keys import KeyMap, NormalTurnsCache, record_key
from .row_lints import LINTS as ROW_LINTS
from .row_lints import Lint

Deduplicate = Literal["no", "exact", "near"]
NOT_TAKEN = "weight, cap or total"
"""The reason in an account for rows beyond those that weights, caps, temperature and a total ask for."""
FIXABLE = tuple(name for name, lint in ROW_LINTS.items() if lint.fix)


@dataclass(slots=True)
class RowAccount:
    """What became of the rows of one source: `read` rows came in, `kept` are left, `dropped` counts the rest by reason.

    `fixed` counts rows that a lint's fix changed; `taken` rows remain once weights, caps and totals are applied.
    `notes` are sentences on what reading changed or left unused.
    """

    source: str = ""
    read: int = 0
    kept: int = 0
    taken: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    fixed: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def reasons(self) -> dict[str, int]:
        """Why rows are not taken, and how many: those dropped, and those beyond what the mixture asks for."""
        spare = self.kept - self.taken
        return dict(self.dropped.most_common()) | ({NOT_TAKEN: spare} if spare > 0 else {})

    def as_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "read": self.read,
            "kept": self.kept,
            "taken": self.taken,
            "dropped": self.reasons,
            "fixed": dict(self.fixed.most_common()),
            "notes": self.notes,
        }


class RowFilter:
    """Decides for each row whether it is left out, and why. One filter for all sources: of duplicates the first stays.

    `normalise` is its cache of normalised turns, for code that takes other keys of the same rows.

    Raises:
        UnknownName: a lint that is not known.
    """

    def __init__(
        self,
        drop_tags: Iterable[str] = (),
        drop_lints: Iterable[str] = (),
        deduplicate: Deduplicate = "no",
        lints: Mapping[str, Lint] | None = None,
    ) -> None:
        self._tags = frozenset(drop_tags)
        self.normalise = NormalTurnsCache()
        self._finds = [(name, lint.start(self.normalise)) for name, lint in select_lints(drop_lints, lints).items()]
        self._exact = KeyMap() if deduplicate != "no" else None
        self._near = NearDuplicateIndex() if deduplicate == "near" else None
        self._sources: list[str] = []

    @property
    def active(self) -> bool:
        """Whether any row could be left out."""
        return bool(self._tags or self._finds or self._exact is not None)

    def start_source(self, name: str) -> None:
        """The rows that follow come from this source."""
        self._sources.append(name)

    def reason(self, record: Record) -> str:
        """Why this row is left out; empty if it stays."""
        for tag in record.tags:
            if tag in self._tags:
                return f"tag {tag}"
        for name, find in self._finds:
            if find(record):
                return f"lint {name}"
        return self._duplicate_reason(record)

    def _duplicate_reason(self, record: Record) -> str:
        if self._exact is None:
            return ""
        here = max(0, len(self._sources) - 1)
        earlier = self._exact.put(record_key(record, self.normalise), here)
        if earlier >= 0:
            return self._duplicate_text("copy", earlier)
        if self._near is not None:
            earlier = self._near.put(record, here)
            if earlier >= 0:
                return self._duplicate_text("near copy", earlier)
        return ""

    def _duplicate_text(self, what: str, earlier: int) -> str:
        return f"{what} of a row in {self._sources[earlier]}" if self._sources else what


def clean(
    records: Iterable[Record],
    drop: Iterable[str] = (),
    fix: Iterable[str] = (),
    deduplicate: Deduplicate = "no",
    drop_tags: Iterable[str] = (),
    lints: Mapping[str, Lint] | None = None,
    account: RowAccount | None = None,
) -> Iterator[Record]:
    """The rows that are kept, first fixed, then filtered; `account` is filled in as they are read.

    Raises:
        UnknownName: a lint that is not known.
        UsageError: a lint without a fix among `fix`.
    """
    account = RowAccount() if account is None else account
    fixes = select_lints(fix, lints)
    for name, lint in fixes.items():
        if lint.fix is None:
            raise UsageError(f"lint {name!r} has no fix; drop the rows it finds, or fix one of {', '.join(FIXABLE)}.")
    return _clean(records, fixes, RowFilter(drop_tags, drop, deduplicate, lints), account)


def _clean(
    records: Iterable[Record], fixes: dict[str, Lint], row_filter: RowFilter, account: RowAccount
) -> Iterator[Record]:
    for record in records:
        account.read += 1
        for name, lint in fixes.items():
            if lint.find(record) and lint.fix is not None:
                fixed = lint.fix(record)
                if fixed is not None and fixed != record:
                    account.fixed[name] += 1
                    record = fixed
        reason = row_filter.reason(record)
        if reason:
            account.dropped[reason] += 1
            continue
        account.kept += 1
        account.taken += 1
        yield record


def select_lints(names: Iterable[str] | None, lints: Mapping[str, Lint] | None = None) -> dict[str, Lint]:
    """The lints of these names; all that run by default for None.

    Raises:
        UnknownName: with the nearest known one.
    """
    from . import LINTS

    known = LINTS if lints is None else lints
    if names is None:
        return {name: lint for name, lint in known.items() if lint.default}
    found = {}
    for name in names:
        if name not in known:
            raise UnknownName("lint", name, known)
        found[name] = known[name]
    return found
