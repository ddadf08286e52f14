"""`Estimate` and `Difference`: a number with its 95 % interval, and the one text that each is shown as.

Knows numbers and words. Knows nothing of how an interval was computed, and imports no numpy: pages and cards read
results that were computed elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

CONFIDENCE = 0.95
SIGNIFICANT = 1 - CONFIDENCE


@dataclass(frozen=True, slots=True)
class _Interval:
    """A mean over `n` items and the ends of its 95 % interval, None where one item tells no spread.

    `clusters` is how many groups of dependent items there are, None where every item stands by itself; `seeds` how
    many trained models the items were asked; `share` says that it is a share, shown in per cent."""

    mean: float
    low: float | None
    high: float | None
    n: int
    clusters: int | None = None
    seeds: int = 1
    share: bool = False

    @property
    def arm(self) -> float | None:
        """The longer arm of the interval: mean ± arm covers it."""
        if self.low is None or self.high is None:
            return None
        return max(self.high - self.mean, self.mean - self.low, 0.0)

    @property
    def ends(self) -> tuple[float, float]:
        """Raises:
        ValueError: it has no interval.
        """
        if self.low is None or self.high is None:
            raise ValueError("one item has no interval")
        return self.low, self.high

    @property
    def _lack(self) -> str:
        return "no interval" if self.low is None or self.high is None else ""

    @property
    def counted(self) -> str:
        """`n 40`, `n 40 in 12 clusters × 3 seeds`"""
        clusters = "" if self.clusters is None else f" in {self.clusters:,} clusters"
        seeds = "" if self.seeds == 1 else f" × {self.seeds} seeds"
        return f"n {self.n:,}{clusters}{seeds}"

    def as_json(self) -> dict[str, Any]:
        """JSON values; what is as it is by default is left out."""
        unset = {"clusters": None, "seeds": 1, "share": False, "p_holm": None, "rows_needed": None}
        values = asdict(self)
        return {name: value for name, value in values.items() if name not in unset or value != unset[name]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Raises:
        KeyError: it is no JSON of this class.
        """
        known = {field.name for field in fields(cls)}
        return cls(
            **{
                "mean": values["mean"],
                "low": values["low"],
                "high": values["high"],
                **{name: value for name, value in values.items() if name in known},
            }
        )


@dataclass(frozen=True, slots=True)
class Estimate(_Interval):
    """A mean with its interval: `57.5 % ± 15.3 (n 40)`."""

    def __str__(self) -> str:
        return f"{self._value} ({', '.join(filter(None, (self.counted, self._lack)))})"

    @property
    def short(self) -> str:
        """Without n, for tables that have a column for it."""
        return self._value if not self._lack else f"{self._value} ({self._lack})"

    @property
    def _value(self) -> str:
        mean, arm = _texts(self)
        return mean if arm is None else f"{mean} ± {arm}"

    def exponential(self) -> Estimate:
        """exp of the mean and of both ends: a perplexity of a mean loss."""
        low, high = (None if end is None else _exp(end) for end in (self.low, self.high))
        return replace(self, mean=_exp(self.mean), low=low, high=high)


@dataclass(frozen=True, slots=True)
class Difference(_Interval):
    """The mean paired difference of one model minus another on the same items: `+3.2 ± 4.1 points (n 200, p 0.12)`.

    `p` is of the two-sided test of no difference, None where one item tells nothing; `p_holm` the same after Holm's
    correction over its table; `rows_needed` is how many such items would show a difference as large as this one."""

    p: float | None = None
    p_holm: float | None = None
    rows_needed: int | None = None

    def __str__(self) -> str:
        return f"{self._value} ({', '.join(filter(None, (self.counted, self._tested, self._lack)))})"

    @property
    def short(self) -> str:
        """Without n and p."""
        return self._value if not self._lack else f"{self._value} ({self._lack})"

    @property
    def _value(self) -> str:
        mean, arm = _texts(self)
        signed = mean if mean.startswith("-") else f"+{mean}"
        unit = " points" if self.share else ""
        return f"{signed}{unit}" if arm is None else f"{signed} ± {arm}{unit}"

    @property
    def excludes_zero(self) -> bool:
        """Whether the difference is significant at 5 %, after Holm's correction where its table was corrected."""
        p = self.p if self.p_holm is None else self.p_holm
        return p is not None and p < SIGNIFICANT

    def verdict(self, higher_is_better: bool = True) -> str:
        """`better`, `worse` or `undecided`."""
        if not self.excludes_zero:
            return "undecided"
        return "better" if (self.mean > 0) == higher_is_better else "worse"

    @property
    def _tested(self) -> str:
        if self.p_holm is not None:
            return f"{_p(self.p_holm)} after Holm"
        return "" if self.p is None else _p(self.p)


def number_text(value: Any) -> str | None:
    """The text of an estimate or a difference that is given as JSON; None for anything else."""
    if not isinstance(value, Mapping) or not {"mean", "low", "high", "n"} <= set(value):
        return None
    return str((Difference if "p" in value else Estimate).from_json(value))


def shown_values(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and values as people see them: an estimate as its text, and `NAME_estimate` in place of a bare `NAME`."""
    for name, value in values.items():
        if f"{name}_estimate" not in values:
            yield name.removesuffix("_estimate"), number_text(value) or value


def _texts(of: _Interval) -> tuple[str, str | None]:
    """Mean and arm with as many decimals as the arm's second digit has."""
    scale = 100 if of.share else 1
    arm = None if of.arm is None else of.arm * scale
    decimals = 1 if of.share else _decimals(arm if arm else abs(of.mean))
    unit = " %" if of.share and isinstance(of, Estimate) else ""
    mean = round(of.mean * scale, decimals) + 0.0  # no negative zero
    return f"{mean:,.{decimals}f}{unit}", None if arm is None else f"{arm:,.{decimals}f}"


def _decimals(size: float) -> int:
    if not math.isfinite(size) or size <= 0:
        return 2
    return min(8, max(0, 1 - math.floor(math.log10(size))))


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p {p:.2g}"


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))
