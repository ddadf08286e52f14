"""How many rows each source contributes: weights, caps, temperature sampling, a total. Knows only sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from camelid_core.datasets.dataset import Source
from camelid_core.errors import UsageError, did_you_mean

from .config import Mixture
from .interleaving import apportion


def rows_per_source(mixture: Mixture, sources: Sequence[Source], sizes: Sequence[int]) -> list[int]:
    """How many rows each source of that size contributes: weight, cap, temperature, cap again, and the total."""
    caps = [_cap(mixture, source) for source in sources]
    found = [
        _capped(int(size * source.weight + 1e-9), cap) for size, source, cap in zip(sizes, sources, caps, strict=True)
    ]
    if mixture.temperature != 1:
        even = [count ** (1 / mixture.temperature) for count in found]
        found = [_capped(n, cap) for n, cap in zip(apportion(sum(found), even), caps, strict=True)]
    if mixture.rows is not None and sum(found) > mixture.rows:
        found = apportion(mixture.rows, found)
    return found


def _cap(mixture: Mixture, source: Source) -> int | None:
    """A cap may also name a file without its directory: recipes are made absolute before they run."""
    return mixture.caps.get(source.name, mixture.caps.get(Path(source.name).name))


def _capped(count: int, cap: int | None) -> int:
    return count if cap is None else min(count, cap)


def check_caps(mixture: Mixture, sources: list[Source]) -> None:
    """Raise UsageError for a cap on what is no source, or one below 1."""
    names = list(dict.fromkeys(name for s in sources for name in (s.name, Path(s.name).name)))
    for name, cap in mixture.caps.items():
        if name not in names:
            raise UsageError(
                f"cap {name}={cap}: {name!r} is no source of this mixture.{did_you_mean(name, names)} "
                f"Sources: {', '.join(names)}."
            )
        if cap < 1:
            raise UsageError(f"cap {name}={cap}: a cap is at least 1; leave the source out instead.")
