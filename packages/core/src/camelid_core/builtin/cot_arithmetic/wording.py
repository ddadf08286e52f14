"""How a language words a shape.

Knows the form of a wording. Knows no language and no numbers; those are in `shapes_*.py` and `shapes.py`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wording:
    """Templates over `who`, `other`, `thing` and the names a shape solves to, such as `n`, `r1` and `s1`."""

    question: str
    rationale: str
    things: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Language:
    """`answer` closes every rationale around `{result}`; `wordings` has one entry for each shape."""

    names: tuple[str, ...]
    answer: str
    wordings: dict[str, Wording]
