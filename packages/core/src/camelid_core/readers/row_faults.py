"""Malformed rows of a file: the first fault stops (strict), or all are counted and skipped (lenient).

Knows kinds, counts and the first few sentences. Knows nothing of files or formats.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from camelid_core.errors import DataError


class Faults:
    """Collects faults of rows. Strict: the first one raises. Lenient: the row is left out and counted.

    `counts` has how many of each kind, `examples` the first `keep` sentences. `notes` counts what was
    changed without being malformed ("rows had literal \\n un-escaped"), so that it can be reported.
    A fault that makes the rest of a file unreadable (broken JSON array, not UTF-8) raises in both modes.
    """

    def __init__(self, strict: bool = True, keep: int = 20) -> None:
        self.strict = strict
        self.keep = keep
        self.counts: Counter[str] = Counter()
        self.examples: list[str] = []
        self.notes: Counter[str] = Counter()
        self._unused: dict[Unused, Counter[str]] = {}

    @property
    def total(self) -> int:
        return self.counts.total()

    def add(self, error: DataError) -> None:
        """Raises DataError: `error` itself, if strict."""
        if self.strict:
            raise error from None
        self.counts[error.kind] += 1
        if len(self.examples) < self.keep:
            self.examples.append(str(error))

    def note(self, what: str, count: int = 1) -> None:
        """`what` continues a number and says what was: "rows had literal \\n un-escaped"."""
        self.notes[what] += count

    def add_unused(self, what: Unused, names: Iterable[str]) -> None:
        """Names in one row or message that hold something and take no part in its record."""
        counts = self._unused.setdefault(what, Counter())
        for name in names:
            if name in counts or len(counts) < _MAX_NAMES:
                counts[name] += 1
            else:
                counts[_OTHERS] += 1

    def sentences(self) -> list[str]:
        """The notes as sentences: "2,728 rows had …", "1 row had …", "Columns that are not used: …"."""
        notes = [f"{count:,} {what if count != 1 else _of_one(what)}" for what, count in self.notes.most_common()]
        unused = ((what, _counted(counts, _UNITS[what])) for what, counts in self._unused.items() if counts)
        return [*notes, *(f"{what.capitalize()} that are not used: {listing}." for what, listing in unused)]


Unused = Literal["columns", "keys of messages"]
_UNITS: dict[Unused, str] = {"columns": "row", "keys of messages": "message"}
_MAX_NAMES = 50
"""Unused names that are counted one by one."""
_OTHERS = ""


def _counted(counts: Counter[str], unit: str) -> str:
    names = [f"{name!r} in {_amount(count, unit)}" for name, count in counts.most_common() if name != _OTHERS]
    return ", ".join(names + ([f"others in {_amount(counts[_OTHERS], unit)}"] if counts[_OTHERS] else []))


def _amount(count: int, unit: str) -> str:
    return f"{count:,} {unit}" + ("s" if count != 1 else "")


def _of_one(what: str) -> str:
    things, space, rest = what.partition(" ")
    return things.removesuffix("s") + space + rest


class RowFault(Exception):
    """A fault found by code that has the row but not its place in the file: `at` makes it a DataError."""

    def __init__(self, kind: str, text: str, place: str = "") -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text
        self.place = place

    def within(self, place: str) -> RowFault:
        """The same fault with an outer place put before its own."""
        return RowFault(self.kind, self.text, place + self.place)

    def at(self, where: str) -> DataError:
        return DataError(f"{where}{self.place}: {self.text}", self.kind)
