"""The average of a suite: the mean of its benchmarks' means, each of which is the mean of its own columns.

A column that was not measured is left out of its benchmark, and a benchmark without a column out of the average; a note
says which. Columns of one benchmark have the same questions, so that their intervals' arms are averaged as if they
moved together; those of different benchmarks are independent, and their squares add up. Knows numbers and names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from camelid_core.statistics import Difference, Estimate

from .suite import Benchmark

NAME = "Average"
AnyNumber = TypeVar("AnyNumber", Estimate, Difference)


@dataclass(frozen=True, slots=True)
class Averaged:
    """`mean` is None where nothing was measured; `left_out` are the names of what has no part in it."""

    mean: float | None
    left_out: tuple[str, ...]
    used: int


def average_of(cells: Mapping[str, float | None], benchmarks: Sequence[Benchmark]) -> Averaged:
    """The mean of benchmark means, of numbers by column."""
    means, left_out = [], []
    for each in benchmarks:
        found = [value for name in each.columns if (value := cells.get(name)) is not None]
        left_out += [name for name in each.columns if cells.get(name) is None]
        if found:
            means.append(math.fsum(found) / len(found))
    return Averaged(math.fsum(means) / len(means) if means else None, tuple(left_out), len(means))


def averaged(
    cells: Mapping[str, AnyNumber], benchmarks: Sequence[Benchmark], kind: type[AnyNumber]
) -> AnyNumber | None:
    """The same of estimates or differences, with an interval; it has none where a cell has none."""
    mean = average_of({name: each.mean for name, each in cells.items()}, benchmarks).mean
    if mean is None:
        return None
    arms = []
    for each in benchmarks:
        found = [cells[name] for name in each.columns if name in cells]
        if found:
            arms.append(math.fsum(math.nan if one.arm is None else one.arm for one in found) / len(found))
    arm = math.sqrt(math.fsum(each**2 for each in arms)) / len(arms)
    number = sum(each.n for name, each in cells.items() if any(name in bench.columns for bench in benchmarks))
    low, high = (None, None) if math.isnan(arm) else (mean - arm, mean + arm)
    return kind(mean, low, high, number, share=all(each.share for each in cells.values()))


def average_column(results: Mapping[str, Any], benchmarks: Sequence[Benchmark]) -> dict[str, Any]:
    """The last column of a suite's table."""
    firsts = {column["name"]: column["measures"][0] for column in results["columns"] if column["measures"]}
    estimates, differences, notes = {}, {}, []
    for model in results["models"]:
        cells = {
            name: Estimate.from_json(each["estimates"][model])
            for name, each in firsts.items()
            if model in each["estimates"]
        }
        found = averaged(cells, benchmarks, Estimate)
        left_out = average_of({name: each.mean for name, each in cells.items()}, benchmarks).left_out
        if found is not None:
            estimates[model] = found.as_json()
        if left_out:
            notes.append(f"{model}: without {', '.join(left_out)}, which were not measured")
        gaps = {
            name: Difference.from_json(each["differences"][model])
            for name, each in firsts.items()
            if model in each["differences"]
        }
        if (gap := averaged(gaps, benchmarks, Difference)) is not None:
            differences[model] = {**gap.as_json(), "p": _p(gap), "verdict": _verdict(gap)}
    text = f"Mean of {len(benchmarks)} benchmarks' means: {', '.join(each.name for each in benchmarks)}."
    measure = {"name": "average", "help": text, "better": "higher", "estimates": estimates, "differences": differences}
    return {
        "name": NAME, "help": text, "data": "", "items": 0, "skipped": {}, "failed": {}, "note": "; ".join(notes),
        "measures": [measure],
    }  # fmt: skip


def _p(gap: Difference) -> float | None:
    """Of the normal whose 95 % interval has that arm."""
    from scipy.special import ndtr

    return None if not gap.arm else float(2 * ndtr(-1.959963984540054 * abs(gap.mean) / gap.arm))


def _verdict(gap: Difference) -> str:
    if gap.low is None or gap.high is None or gap.low <= 0 <= gap.high:
        return "undecided"
    return "better" if gap.mean > 0 else "worse"
