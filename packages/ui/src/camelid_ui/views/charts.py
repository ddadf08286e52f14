"""Small charts as SVG: the histogram of lengths. Knows bins and a mark; knows nothing of data."""

from __future__ import annotations

from collections.abc import Sequence

from . import esc

_WIDTH, _HEIGHT = 480, 96


def histogram(bins: Sequence[tuple[int, int, int]], mark: int, label: str, unit: str) -> str:
    """Bars with a line at `mark`; bars beyond it are drawn as cut."""
    if not bins:
        return ""
    end = max(bins[-1][1], mark if mark < bins[-1][1] * 1.5 else 0)
    highest = max(count for _, _, count in bins) or 1
    bars = "".join(
        _bar(low, high, count / highest, end, low >= mark, f"{low}–{high}: {count}") for low, high, count in bins
    )
    at = f"{_x(mark, end):.1f}"
    line = f'<line x1="{at}" x2="{at}" y1="0" y2="{_HEIGHT}"/>' if mark <= end else ""
    return (
        '<figure class="camelid-histogram">'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{esc(label)}">'
        f'{bars}{line}</svg><div class="axis"><span>0</span><span>{end} {esc(unit)}</span></div>'
        f"<figcaption>{esc(label)}</figcaption></figure>"
    )


def _bar(low: int, high: int, share: float, end: int, over: bool, title: str) -> str:
    height = share * (_HEIGHT - 6)
    return (
        f'<rect class="{"over" if over else ""}" x="{_x(low, end) + 0.75:.1f}" y="{_HEIGHT - height:.1f}" '
        f'width="{max(1.0, _x(high - low, end) - 1.5):.1f}" height="{height:.1f}"><title>{title}</title></rect>'
    )


def _x(value: float, end: int) -> float:
    return value / end * _WIDTH
