"""The metrics by name, scores of one answer, and means over any number of them.

Knows names and sums. How a metric compares is its own function's matter.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .functions import bleu, chrf, exact, numeric


@dataclass(frozen=True, slots=True)
class Metric:
    """`compare(answer, reference)` gives 0 to 1, or None where it says nothing of such a pair. `needs` is a package
    that is not always installed."""

    name: str
    help: str
    compare: Callable[[str, str], float | None]
    needs: str = ""


METRICS = (
    Metric("exact", "The same text, but for space around words.", exact),
    Metric("numeric", "The same final number, where the reference states one.", numeric),
    Metric("bleu", "BLEU of the sentence: words and runs of up to four in common.", bleu, "sacrebleu"),
    Metric("chrf", "chrF: runs of up to six characters in common.", chrf, "sacrebleu"),
)


def available() -> tuple[Metric, ...]:
    """Those whose package is installed."""
    return tuple(metric for metric in METRICS if not metric.needs or importlib.util.find_spec(metric.needs))


def missing() -> str:
    """What is to be installed for the others; empty where all are there."""
    names = [metric.name for metric in METRICS if metric not in available()]
    return f'{" and ".join(names)} need sacrebleu: pip install "camelid-serve[metrics]"' if names else ""


def score(answer: str, reference: str, metrics: Sequence[Metric]) -> dict[str, float]:
    """By metric; those that say nothing of the pair are left out."""
    scores = {metric.name: metric.compare(answer, reference) for metric in metrics}
    return {name: round(value, 4) for name, value in scores.items() if value is not None}


class Means:
    """Means of scores that come one at a time; `counts` says of how many each is."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._sums: dict[str, float] = {}

    def add(self, scores: Mapping[str, float]) -> None:
        for name, value in scores.items():
            self.counts[name] += 1
            self._sums[name] = self._sums.get(name, 0.0) + value

    def values(self) -> dict[str, float]:
        return {name: round(total / self.counts[name], 4) for name, total in self._sums.items()}
