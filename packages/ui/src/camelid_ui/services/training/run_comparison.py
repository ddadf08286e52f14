"""Two or more runs side by side: their curves, and only the settings in which they differ.

Knows flat settings. Knows nothing of what a setting means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .runs import RunDetails

MAX_RUNS = 8
"""A chart cannot tell more runs apart."""


@dataclass(frozen=True, slots=True)
class RunComparison:
    """`settings` has by path the value of each run, in the order of `runs`; `missing` are job ids of no run."""

    runs: tuple[RunDetails, ...]
    settings: Mapping[str, tuple[Any, ...]]
    missing: tuple[int, ...] = ()


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """By path the values in which the settings differ, None where one of them has no such setting."""
    flats = [dict(_flatten(config)) for config in configs]
    paths = dict.fromkeys(path for flat in flats for path in flat)
    rows = {path: tuple(flat.get(path) for flat in flats) for path in paths}
    return {path: values for path, values in rows.items() if any(value != values[0] for value in values)}


def job_ids_in(text: str) -> list[int]:
    """`12,9` → job ids, each once; what is no number is left out."""
    return list(dict.fromkeys(int(part) for part in text.split(",") if part.strip().isdecimal()))[:MAX_RUNS]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
