"""The metrics by name, scores of one answer, and means over any number of them.

Knows names and sums; the comparisons themselves are in `functions`.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .functions import bleu, chrf, exact, numeric


@dataclass(frozen=True, slots=True)
class Metric:
    """`compare(answer, gold)` gives 0 to 1, or None where it does not apply. `needs` is a package that is not
    always installed."""

    name: str
    help: str
    compare: Callable[[str, str], float | None]
    needs: str = ""


METRICS = (
    Metric("exact", "Exact match of the texts, white space aside.", exact),
    Metric("numeric", "The same final number, where the gold answer states one.", numeric),
    Metric("bleu", "Sentence BLEU: word n-grams up to 4 in common.", bleu, "sacrebleu"),
    Metric("chrf", "chrF: character n-grams up to 6 in common.", chrf, "sacrebleu"),
)


def available() -> tuple[Metric, ...]:
    """Those whose package is installed."""
    return tuple(metric for metric in METRICS if not metric.needs or importlib.util.find_spec(metric.needs))


def missing() -> str:
    """What to install for the others; empty where all are installed."""
    names = [metric.name for metric in METRICS if metric not in available()]
    return f'{" and ".join(names)} need sacrebleu: pip install "camelid-serve[metrics]"' if names else ""


def score(answer: str, gold: str, metrics: Sequence[Metric]) -> dict[str, float]:
    """Score by metric; those that do not apply are left out."""
    scores = {metric.name: metric.compare(answer, gold) for metric in metrics}
    return {name: round(value, 4) for name, value in scores.items() if value is not None}


class ScoreMeans:
    """Running mean of each metric; `counts` has the number of scores in each."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._sums: dict[str, float] = {}

    def add(self, scores: Mapping[str, float]) -> None:
        for name, value in scores.items():
            self.counts[name] += 1
            self._sums[name] = self._sums.get(name, 0.0) + value

    def values(self) -> dict[str, float]:
        return {name: round(total / self.counts[name], 4) for name, total in self._sums.items()}
