"""Token lengths as HTML: a histogram with the cut-off as a draggable line, and how many rows the cut-off truncates.

Knows bins and counts. The page's script moves the line and writes to the number field it belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence

from camelid_ui.i18n import Translator
from camelid_ui.services.data.lengths import CutoffEffect, TokenLengths
from camelid_ui.views import error as wrong
from camelid_ui.views import esc, facts
from camelid_ui.views.numbers import count

_WIDTH, _HEIGHT = 480, 96
Bins = Sequence[tuple[int, int, int]]


def histogram(measured: TokenLengths, cutoff: int, field: str, say: Translator) -> str:
    """`field` is the element id of the number field that has the cut-off."""
    bins = measured.bins()
    if not bins:
        return ""
    end = bins[-1][0] + bins[0][1]
    highest = max(rows for _, _, rows in bins) or 1
    bars = "".join(_bar(low, rows / highest, end, bins[0][1], f"{low}–{high}: {rows}") for low, high, rows in bins)
    box = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none"'
    label = say("data.lengths_all" if measured.exact else "data.lengths", rows=count(measured.rows))
    at = min(100.0, 100 * cutoff / end)
    slider = (
        f'<div class="cutline" role="slider" tabindex="0" aria-label="{esc(say("data.cutoff"))}" aria-valuemin="16" '
        f'aria-valuemax="{end}" aria-valuenow="{cutoff}" aria-orientation="horizontal"><output>{cutoff}</output></div>'
    )
    return (
        f'<figure class="camelid-histogram" style="--at:{at:.2f}%" data-end="{end}" data-field="{esc(field)}">'
        f'<div class="plot"><svg {box} role="img" aria-label="{esc(label)}">{bars}</svg>'
        f'<svg {box} class="over" aria-hidden="true">{bars}</svg>{slider}</div>'
        f'<div class="axis"><span>0</span><span>{count(end)} {esc(say("progress.tokens"))}</span></div>'
        f"<figcaption>{esc(label)}</figcaption></figure>"
    )


def _bar(low: int, share: float, end: int, width: int, title: str) -> str:
    height = max(1.5, share * (_HEIGHT - 6)) if share else 0
    return (
        f'<rect x="{_x(low, end) + 0.5:.1f}" y="{_HEIGHT - height:.1f}" '
        f'width="{max(1.0, _x(width, end) - 1):.1f}" height="{height:.1f}"><title>{title}</title></rect>'
    )


def _x(value: float, end: int) -> float:
    return value / end * _WIDTH


def cut(found: CutoffEffect, cutoff: int, exact: bool, rows: int, say: Translator) -> str:
    """Counts at one cut-off; of a sample, also what they mean for all rows."""
    if not found.rows:
        return ""
    parts = [("whole", found.whole), ("shortened", found.shortened), ("dropped", found.dropped)]
    bar = "".join(
        f'<span class="{name}" style="width:{100 * number / found.rows:.2f}%"></span>'
        for name, number in parts
        if number
    )
    scale = 1.0 if exact or not rows else rows / found.rows
    pairs = [(say(f"data.{name}"), _of(number, found.rows, exact, scale, say)) for name, number in parts]
    if found.examples > found.rows - found.dropped - found.refused:
        pairs.append((say("data.pieces"), _about(found.examples * scale, exact, say)))
    kept = found.trained / max(1, found.trained_before)
    pairs += [
        (say("data.tokens_total"), _about(found.tokens * scale, exact, say)),
        (say("data.tokens_trained"), f"{_about(found.trained * scale, exact, say)} ({100 * kept:.1f} %)"),
    ]
    errors = wrong(say("data.refused_rows", rows=count(found.refused))) if found.refused else ""
    if found.too_many:
        errors += wrong(say("data.cut_refused", share=f"{100 * found.dropped / found.rows:.0f}", cutoff=cutoff))
    return f'<div class="camelid-split" aria-hidden="true">{bar}</div>{facts(pairs)}{errors}'


def _of(number: int, rows: int, exact: bool, scale: float, say: Translator) -> str:
    share = f"{100 * number / rows:.1f} %"
    return f"{_about(number * scale, exact, say)} ({share})" if number else "0"


def _about(number: float, exact: bool, say: Translator) -> str:
    return count(number) if exact else say("train.about", value=count(number))
