"""The mixture builder as HTML: sources with weight and cap, and their shares. Knows plans; knows no rows."""

from __future__ import annotations

from collections.abc import Sequence

from camelid_ui.i18n import Translator
from camelid_ui.services.data.mix import MixturePart, SavedMixture
from camelid_ui.views import Cell, ListingRow, cell, empty, esc, listing, note
from camelid_ui.views.numbers import count

from .lints import reasons

COLOURS = 8


def sources(parts: Sequence[tuple[str, float, int | None, int]], say: Translator) -> str:
    """Name, weight, cap and rows of each source; weight and cap are fields, read by the page through `data-set`."""
    if not parts:
        return empty(say("mix.none"), say("mix.none_hint"))
    items = "".join(_source(number, *part, say) for number, part in enumerate(parts))
    return f'<ul class="camelid-mix">{items}</ul>'


def _source(number: int, name: str, weight: float, cap: int | None, rows: int, say: Translator) -> str:
    shown = esc(name)
    return (
        f'<li><span class="name"><i class="dot c{number % COLOURS}"></i>{shown}<small>{count(rows)}</small></span>'
        f"<label>{esc(say('mix.weight'))}<input type='number' min='0.01' max='100' step='any' value='{weight:g}' "
        f'data-set="weight:{shown}" aria-label="{esc(say("mix.weight_of", name=name))}"></label>'
        f"<label>{esc(say('mix.cap'))}<input type='number' min='1' step='1' value='{'' if cap is None else cap}' "
        f'placeholder="{esc(say("mix.no_cap"))}" data-set="cap:{shown}" '
        f'aria-label="{esc(say("mix.cap_of", name=name))}"></label>'
        f'<button type="button" class="camelid-remove" data-set="remove:{shown}" '
        f'aria-label="{esc(say("mix.remove", name=name))}">×</button></li>'
    )


def shares(parts: Sequence[MixturePart], filtered: bool, say: Translator) -> str:
    """Rows and percent of each source, as a bar and as a table, before anything runs."""
    if not parts:
        return ""
    total = sum(part.taken for part in parts)
    bar = "".join(
        f'<span class="c{number % COLOURS}" style="width:{100 * part.share:.2f}%" title="{esc(part.name)}"></span>'
        for number, part in enumerate(parts)
    )
    lines = [
        ListingRow(
            [
                Cell(f'<i class="dot c{number % COLOURS}"></i>{esc(part.name)}', "main"),
                cell(count(part.rows), "number quiet"),
                cell(count(part.taken), "number"),
                cell(f"{100 * part.share:.1f} %", "number"),
            ]
        )
        for number, part in enumerate(parts)
    ]
    heads = [say("mix.source"), say("mix.before"), say("mix.after"), say("mix.share")]
    total_text = say("mix.total_filtered" if filtered else "mix.total", rows=count(total))
    missing = [part.name for part in parts if part.missing]
    absent = f'<div class="camelid-warn">{esc(say("mix.missing", names=", ".join(missing)))}</div>' if missing else ""
    return (
        f'<div class="camelid-split shares" role="img" aria-label="{esc(total_text)}">{bar}</div>'
        f"{listing(heads, lines, say('mix.shares'))}{note(total_text)}{absent}"
    )


def saved(found: SavedMixture, say: Translator) -> str:
    """The dataset that was written, and rows before and after for each source."""
    head = say("mix.saved", name=found.entry.name, rows=count(found.entry.rows))
    parts = "".join(
        note(say("mix.account", source=each.source, before=count(each.read), after=count(each.taken)))
        + reasons(each, say)
        for each in found.account
    )
    return f'<p class="camelid-good" role="status">{esc(head)}</p>{parts}'
