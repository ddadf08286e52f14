"""Two or more runs side by side: their curves, and only the settings in which they differ.

Knows flat settings. Knows nothing of what a setting means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid_core.statistics import Difference
from camelid_core.statistics.holm import corrected
from camelid_train.monitoring.heldout_rows import paired, read_rows

from .runs import RunDetails

MAX_RUNS = 8
"""A chart cannot tell more runs apart."""


@dataclass(frozen=True, slots=True)
class RunComparison:
    """`settings` has by path the value of each run, in the order of `runs`; `missing` are job ids of no run; `losses`
    has the paired difference of each run's held-out loss from the first's, None where they share no rows."""

    runs: tuple[RunDetails, ...]
    settings: Mapping[str, tuple[Any, ...]]
    missing: tuple[int, ...] = ()
    losses: tuple[Difference | None, ...] = ()


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """By path the values in which the settings differ, None where one of them has no such setting."""
    flats = [dict(_flatten(config)) for config in configs]
    paths = dict.fromkeys(path for flat in flats for path in flat)
    rows = {path: tuple(flat.get(path) for flat in flats) for path in paths}
    return {path: values for path, values in rows.items() if any(value != values[0] for value in values)}


def loss_differences(runs: Sequence[RunDetails]) -> tuple[Difference | None, ...]:
    """From the first run, paired by held-out row, corrected over all of them."""
    rows = [read_rows(Path(run.job.published)) if run.job.published else {} for run in runs]
    found = [None if number == 0 else paired(each, rows[0]) for number, each in enumerate(rows)]
    tested = iter(corrected([each for each in found if each is not None]))
    return tuple(None if each is None else next(tested) for each in found)


def job_ids_in(text: str) -> list[int]:
    """`12,9` → job ids, each once; what is no number is left out."""
    return list(dict.fromkeys(int(part) for part in text.split(",") if part.strip().isdecimal()))[:MAX_RUNS]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
