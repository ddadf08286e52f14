"""The collection as HTML: filter chips, and every dataset with its size. Knows entries; knows no rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

from camelid_ui.i18n import Translator
from camelid_ui.services.data.dataset_entries import AVAILABILITIES, DatasetEntry
from camelid_ui.views import empty, esc
from camelid_ui.views.numbers import count

MOST_CHIPS = 8
FOLDED_FROM = 12
"""A group of datasets to fetch of this size is folded unless a search or a filter is set."""
_LARGEST = 100_000_000


def chips(found: Mapping[str, Mapping[str, int]], chosen: Mapping[str, str], say: Translator) -> str:
    """One line of chips per facet that has anything to choose between."""
    lines = [
        _chips(name, _most(values, chosen.get(name, "")), chosen.get(name, ""), say)
        for name, values in found.items()
        if len(values) > 1
    ]
    return f'<div class="camelid-facets">{"".join(lines)}</div>' if lines else ""


def _most(values: Mapping[str, int], chosen: str) -> list[tuple[str, int]]:
    """The most frequent ones, and the chosen one in any case."""
    ranked = sorted(values.items(), key=lambda item: -item[1])
    return ranked[:MOST_CHIPS] + [item for item in ranked[MOST_CHIPS:] if item[0] == chosen]


def _chips(name: str, values: Iterable[tuple[str, int]], chosen: str, say: Translator) -> str:
    label = esc(say(f"data.{name}"))
    buttons = "".join(
        f'<button type="button" class="camelid-choice" data-key="{esc(f"{name}:{value}")}" '
        f'aria-pressed="{"true" if value == chosen else "false"}">{esc(worded(name, value, say))} '
        f"<small>{number}</small></button>"
        for value, number in values
    )
    return f'<div role="group" aria-label="{label}"><span class="facet">{label}</span>{buttons}</div>'


def worded(facet: str, value: str, say: Translator) -> str:
    """A tag in words where there are any."""
    return say.optional(f"{facet}.{value}", value)


def collection(entries: Sequence[DatasetEntry], chosen: str, say: Translator, narrowed: bool = False) -> str:
    """Added datasets first, then those on this machine, then those to fetch."""
    if not entries:
        return empty(say("data.none"), say("data.none_hint"))
    return "".join(
        _group(place, [entry for entry in entries if entry.availability == place], chosen, narrowed, say)
        for place in AVAILABILITIES
        if any(entry.availability == place for entry in entries)
    )


def _group(place: str, entries: Sequence[DatasetEntry], chosen: str, narrowed: bool, say: Translator) -> str:
    folded = place == "fetch" and len(entries) >= FOLDED_FROM and not narrowed
    opened = not folded or any(entry.name == chosen for entry in entries)
    items = "".join(_item(entry, entry.name == chosen, say) for entry in entries)
    return (
        f'<details class="camelid-group"{" open" if opened else ""}><summary>{esc(say(f"place.{place}"))} '
        f'<small>{len(entries)}</small></summary><ul class="camelid-sets">{items}</ul></details>'
    )


def _item(entry: DatasetEntry, chosen: bool, say: Translator) -> str:
    mark = ' aria-current="true"' if chosen else ""
    number = count(entry.rows) if entry.rows else ""
    return (
        f'<li{" class=chosen" if chosen else ""}><a href="{link(entry.name)}" '
        f'data-key="{esc(entry.name)}"{mark} title="{esc(entry.help)}"><span class="name">{esc(entry.name)}</span>'
        f'<span class="rows">{number}</span><span class="about">{esc(_about(entry, say))}</span>'
        f'<span class="size" style="--size:{100 * scale(entry.rows):.0f}%"></span></a></li>'
    )


def link(name: str) -> str:
    """The address of a dataset, for a new browser tab."""
    return esc(f"/?tab=data&data={quote(name)}")


def _about(entry: DatasetEntry, say: Translator) -> str:
    words = [worded(name, value, say) for name in ("language", "task", "generation") for value in entry.facet(name)]
    return " · ".join(dict.fromkeys(words or entry.tags))


def scale(rows: int) -> float:
    """Between 0 and 1, by the logarithm: the collection's datasets differ by a factor of a hundred thousand."""
    return min(1.0, math.log10(rows + 1) / math.log10(_LARGEST)) if rows > 0 else 0.0
