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
        f'<rect class="{"over" if low >= mark else ""}" x="{_x(low, end) + 0.75:.1f}" width="{max(1.0, _x(high - low, end) - 1.5):.1f}" '
        f'y="{_HEIGHT - count / highest * (_HEIGHT - 6):.1f}" height="{count / highest * (_HEIGHT - 6):.1f}">'
        f"<title>{low}–{high}: {count}</title></rect>"
        for low, high, count in bins
    )
    line = f'<line x1="{_x(mark, end):.1f}" x2="{_x(mark, end):.1f}" y1="0" y2="{_HEIGHT}"/>' if mark <= end else ""
    return (
        f'<figure class="camelid-histogram"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{esc(label)}">{bars}{line}</svg>'
        f'<div class="axis"><span>0</span><span>{end} {esc(unit)}</span></div><figcaption>{esc(label)}</figcaption></figure>'
    )


def _x(value: float, end: int) -> float:
    return value / end * _WIDTH
