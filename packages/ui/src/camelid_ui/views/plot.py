"""Curves as SVG: a page that polls can redraw them at once, in any width, light or dark.

Knows points, ticks and classes of lines. The page's script reads values off where the pointer is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from camelid_ui.services.training.curves import CurvePoint

from . import esc

_SIZE = 1000
_DOTS = 80
"""Most points of a line that are also drawn as dots."""


@dataclass(frozen=True, slots=True)
class Curve:
    """`kind` is a class of the stylesheet: `raw`, `smooth`, `held`, or `c0` … `c7`."""

    name: str
    points: Sequence[CurvePoint]
    kind: str = "smooth"


def plot(title: str, lines: Sequence[Curve], step: str, zero: bool = False, kind: str = "") -> str:
    """A figure, or nothing without points; `step` labels the x-axis, `zero` makes the y-axis begin at zero."""
    shown = [line for line in lines if line.points]
    if not shown:
        return ""
    steps = [point.step for line in shown for point in line.points]
    values = [point.value for line in shown for point in line.points]
    first, last = min(steps), max(steps)
    x = (0.0 if first <= last * 0.05 else float(first), float(last if last > first else first + 1))
    y = _range(min(values), max(values), zero)
    drawn = "".join(_line(line, x, y) for line in shown)
    grid = "".join(f"M0 {_at(tick, y, True):.1f}H{_SIZE}" for tick in ticks(*y))
    area = (
        f'<svg viewBox="0 0 {_SIZE} {_SIZE}" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="grid" d="{grid}"/>{drawn}</svg><span class="at"></span>'
    )
    across = _labels(_whole(ticks(*x)), x, "left")
    return (
        f'<figure class="camelid-plot {esc(kind)}" role="group" tabindex="0" '
        f'data-x="{x[0]:.0f},{x[1]:.0f}" data-y="{y[0]!r},{y[1]!r}" '
        f'data-step="{esc(step)}" aria-label="{esc(_text_alternative(title, shown))}">'
        f"<figcaption><b>{esc(title)}</b>{_legend(title, shown)}</figcaption>"
        f'<div class="frame"><div class="ys">{_labels(ticks(*y), y, "bottom")}</div>'
        f'<div class="area">{area}</div><div class="xs">{across}</div></div>'
        '<output aria-live="polite"></output></figure>'
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from `low` to `high`."""
    step = _round_step((high - low) / about)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def number(value: float, step: float = 0.0) -> str:
    """`0.0003` as `3e-4`, `42000` as `42k`; with as many digits as tell steps of `step` apart."""
    if value == 0:
        return "0"
    if abs(value) >= 1e9:
        return f"{value / 1e9:.3g}G"
    if abs(value) >= 1e4:
        return f"{value / 1e6:.3g}M" if abs(value) >= 1e6 else f"{value / 1e3:.3g}k"
    if abs(value) < 1e-3:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:.{max(0, -math.floor(math.log10(step)))}f}" if step else f"{value:.4g}"


def _round_step(raw: float) -> float:
    size: float = 10 ** math.floor(math.log10(raw))
    return next(factor * size for factor in (1, 2, 5, 10) if raw <= factor * size * (1 + 1e-9))


def _range(low: float, high: float, zero: bool) -> tuple[float, float]:
    low = min(0.0, low) if zero else low
    room = (high - low or abs(high) or 1.0) * 0.06
    return (low if zero and low == 0 else low - room), high + room


def _at(value: float, ends: tuple[float, float], down: bool = False) -> float:
    share = (value - ends[0]) / (ends[1] - ends[0])
    return _SIZE * (1 - share if down else share)


def _line(line: Curve, x: tuple[float, float], y: tuple[float, float]) -> str:
    places = [(f"{_at(point.step, x):.1f}", f"{_at(point.value, y, True):.1f}") for point in line.points]
    path = " ".join(f"{left},{top}" for left, top in places)
    dots = "".join(f"M{left} {top}h0" for left, top in places) if len(places) <= _DOTS else ""
    return (
        f'<g class="{esc(line.kind)}"><polyline points="{path}" data-name="{esc(line.name)}"/>'
        + (f'<path class="dots" d="{dots}"/>' if dots else "")
        + "</g>"
    )


def _labels(values: Sequence[float], ends: tuple[float, float], side: str) -> str:
    step = values[1] - values[0] if len(values) > 1 else 0.0
    return "".join(
        f'<span style="{side}:{_at(value, ends) / _SIZE * 100:.2f}%">{number(value, step)}</span>' for value in values
    )


def _whole(values: Sequence[float]) -> list[float]:
    """Whole numbers only: there are no half steps."""
    return [value for value in values if abs(value - round(value)) < 1e-9]


def _legend(title: str, lines: Sequence[Curve]) -> str:
    """Each line's name and newest value; a single line needs no colour."""
    if len(lines) == 1:
        unit = lines[0].name if lines[0].name != title else ""
        return f'<span class="now"><b>{number(lines[0].points[-1].value)}</b> {esc(unit)}</span>'
    items = "".join(
        f'<li class="{esc(line.kind)}">{esc(line.name)} <b>{number(line.points[-1].value)}</b></li>' for line in lines
    )
    return f"<ul>{items}</ul>"


def _text_alternative(title: str, lines: Sequence[Curve]) -> str:
    """The text alternative of a plot, for screen readers."""
    return f"{title}: " + "; ".join(
        f"{line.name} {number(line.points[0].value)} → {number(line.points[-1].value)}" for line in lines
    )
