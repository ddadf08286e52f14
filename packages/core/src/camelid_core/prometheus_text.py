"""Measurements in Prometheus' text format (version 0.0.4).

Knows lines, labels and how both are escaped. Knows nothing of what is measured.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Kind = Literal["counter", "gauge", "histogram"]


@dataclass(slots=True)
class MetricFamily:
    """A metric: its name, what it means, and its lines so far."""

    name: str
    help: str
    kind: Kind = "gauge"
    lines: list[str] = field(default_factory=list)

    def add(self, value: float, suffix: str = "", **labels: str) -> None:
        """One measurement; `suffix` belongs to the name, as `_sum`."""
        self.lines.append(metric_line(self.name + suffix, value, labels))

    def add_histogram(self, values: Iterable[float], bounds: Sequence[float], **labels: str) -> None:
        """Counts of the values up to each bound, their sum and their number."""
        counts, total = [0] * (len(bounds) + 1), 0.0
        for value in values:
            counts[bisect_left(bounds, value)] += 1
            total += value
        self.add_counts(counts, total, bounds, **labels)

    def add_counts(self, counts: Sequence[int], total: float, bounds: Sequence[float], **labels: str) -> None:
        """A histogram whose values were counted: as many counts as bounds, and one of what is above all of them."""
        for edge, number in zip(map(_edge, (*bounds, float("inf"))), _running_sums(counts), strict=True):
            self.add(number, "_bucket", **labels, le=edge)
        self.add(total, "_sum", **labels)
        self.add(sum(counts), "_count", **labels)


def metric_line(name: str, value: float, labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {value:.12g}" if inside else f"{name} {value:.12g}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def metrics_text(families: Iterable[MetricFamily]) -> str:
    return "".join(f"{line}\n" for family in families for line in _family_lines(family))


def _family_lines(family: MetricFamily) -> Iterator[str]:
    described = family.help.replace("\\", r"\\").replace("\n", r"\n")
    return iter([f"# HELP {family.name} {described}", f"# TYPE {family.name} {family.kind}", *family.lines])


def _edge(bound: float) -> str:
    return "+Inf" if bound == float("inf") else f"{bound:g}"


def _running_sums(counts: Sequence[int]) -> Iterator[int]:
    total = 0
    for count in counts:
        total += count
        yield total
