"""The metrics by name, scores of one answer, and their means and paired differences over any number of them.

Knows names; the comparisons of texts are in `functions`, intervals in `camelid_core.statistics`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from camelid_core.statistics import Difference, Estimate
from camelid_core.statistics.streamed_scores import ScoreSums

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
    """Mean of each metric with its interval, over any number of rows; rows are taken as independent."""

    def __init__(self) -> None:
        self._sums: dict[str, ScoreSums] = {}

    def add(self, scores: Mapping[str, float]) -> None:
        for name, value in scores.items():
            self._sums.setdefault(name, ScoreSums()).add(value)

    def estimates(self) -> dict[str, Estimate]:
        return {name: sums.estimate() for name, sums in self._sums.items()}


class ScoreDifferences:
    """Paired differences of each metric between two models, over the rows that have a score of both."""

    def __init__(self) -> None:
        self._sums: dict[str, ScoreSums] = {}

    def add(self, first: Mapping[str, float], second: Mapping[str, float]) -> None:
        """The scores of one row."""
        for name in first.keys() & second.keys():
            self._sums.setdefault(name, ScoreSums()).add(first[name] - second[name])

    def differences(self) -> dict[str, Difference]:
        return {name: self._sums[name].difference() for name in sorted(self._sums)}
