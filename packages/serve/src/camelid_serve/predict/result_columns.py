"""The columns that prediction adds to a row, and their names in a result whose input has columns of the same names.

Knows names only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

RESULT_COLUMNS = ("generate", "error", "scores")

SAME_NAMES: Mapping[str, str] = {name: name for name in RESULT_COLUMNS}
"""For an input that has none of them."""


def may_collide(column: str) -> bool:
    """Whether an input column has to be known to name the result's."""
    return column.startswith(RESULT_COLUMNS)


def result_columns(taken: Iterable[str]) -> dict[str, str]:
    """Result column → its name in the file: its own, or `generate_2`, `_3` … where the input has a column of that name.
    An input column is never replaced."""
    used = set(taken)
    return {
        name: next(each for each in (name, *(f"{name}_{n}" for n in range(2, len(used) + 3))) if each not in used)
        for name in RESULT_COLUMNS
    }


def renamed(columns: Mapping[str, str]) -> dict[str, str]:
    """Those that could not have their own name."""
    return {name: given for name, given in columns.items() if name != given}


def renaming_note(columns: Mapping[str, str]) -> str:
    """A sentence for people; empty where every column has its own name."""
    parts = [f"{name!r} is written as {given!r}" for name, given in renamed(columns).items()]
    return f"The input's columns are kept, so the result's {' and '.join(parts)}." if parts else ""
