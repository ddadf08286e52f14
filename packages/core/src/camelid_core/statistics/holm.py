"""Holm's correction: p values of a table, corrected for how many there are (Holm 1979, A Simple Sequentially Rejective
Multiple Test Procedure). Knows p values and differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .estimate import Difference


def holm(values: Sequence[float]) -> list[float]:
    """Corrected p values in the order given: the smallest by how many there are, the next by one less, and so on; none
    is below one that was smaller before."""
    corrected = [0.0] * len(values)
    highest = 0.0
    for rank, at in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[at]))
        corrected[at] = highest
    return corrected


def corrected(differences: Sequence[Difference]) -> list[Difference]:
    """The differences of one table with `p_holm`; those without a p value take no part."""
    tested = [each for each in differences if each.p is not None]
    found = iter(holm([each.p for each in tested if each.p is not None]))
    return [each if each.p is None else replace(each, p_holm=next(found)) for each in differences]
