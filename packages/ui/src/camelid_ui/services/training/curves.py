"""Training curves: values by optimizer step, smoothed, and thinned so that a page stays quick however long the run.

Knows points. Knows nothing of events or of how a curve is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MAX_POINTS = 500
"""Points of one series on a page: it has no pixels for more."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    step: int
    value: float


Points = tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """Series of a run: training `loss`, the same `smoothed`, `heldout_loss`, `learning_rate`, `gradient_norm`,
    `tokens_per_second`, and `memory` in bytes."""

    loss: Points = ()
    smoothed: Points = ()
    heldout_loss: Points = ()
    learning_rate: Points = ()
    gradient_norm: Points = ()
    tokens_per_second: Points = ()
    memory: Points = ()


def smooth(points: Sequence[CurvePoint], weight: float = 0.8) -> Points:
    """An exponential average, corrected for its start."""
    average, found = 0.0, []
    for count, point in enumerate(points, 1):
        average = weight * average + (1 - weight) * point.value
        found.append(CurvePoint(point.step, average / (1 - weight**count)))
    return tuple(found)


def thin(points: Sequence[CurvePoint], most: int = MAX_POINTS) -> Points:
    """At most `most` of the points: the first, the last, and of each stretch between them the lowest and the
    highest, so that no spike is lost."""
    if len(points) <= most:
        return tuple(points)
    return (points[0], *_extremes(points[1:-1], (most - 2) // 2), points[-1])


def _extremes(points: Sequence[CurvePoint], stretches: int) -> Iterator[CurvePoint]:
    count = len(points)
    for index in range(stretches):
        part = points[index * count // stretches : (index + 1) * count // stretches]
        ends = {min(part, key=_value), max(part, key=_value)}
        yield from sorted(ends, key=lambda point: point.step)


def _value(point: CurvePoint) -> float:
    return point.value
