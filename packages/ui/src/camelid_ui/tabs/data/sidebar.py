"""The left side of the Data page: search, filter chips, the collection, and buttons for the other panels.

Knows its components and handlers. `services.data.collection` lists the datasets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from camelid_ui.i18n import Translator, t, translator_for
from camelid_ui.services import Services
from camelid_ui.services.data.dataset_entries import facets
from camelid_ui.tabs import EACH, LATEST
from camelid_ui.tabs.components import panel, selectable, selected_key
from camelid_ui.views.data import cache as cache_view
from camelid_ui.views.data import collection as view


@dataclass(frozen=True)
class CollectionSidebar:
    """`facets` are the chosen filters: facet → value."""

    search: gr.Textbox
    chips: gr.HTML
    list: gr.HTML
    facets: gr.State
    add: gr.Button
    mix: gr.Button
    cache: gr.HTML

    @property
    def shown(self) -> list[Any]:
        return [self.chips, self.list, self.cache]

    @property
    def filters(self) -> list[Any]:
        return [self.search, self.facets]


def build() -> CollectionSidebar:
    with gr.Row(elem_classes="camelid-actions"):
        add = gr.Button(t("data.add"), elem_id="data-add")
        mix = gr.Button(t("mix.open"), elem_id="data-mix")
    search = gr.Textbox(label=t("data.search"), placeholder=t("data.search_hint"), elem_id="data-search")
    chips = selectable(elem_id="data-chips")
    entries = selectable(elem_id="data-list")
    cache = panel(elem_id="data-cache-line")
    return CollectionSidebar(search, chips, entries, gr.State({}), add, mix, cache)


def listed(services: Services, search: str, chosen: dict[str, str], name: str, say: Translator) -> tuple[str, str, str]:
    """Chips, datasets, and the line on the token cache."""
    collection = services.data.collection
    entries = collection.all(search, chosen)
    return (
        view.chips(facets(collection.all()), chosen, say),
        view.collection(entries, name, say, narrowed=bool(search.strip() or chosen)),
        cache_view.line(services.data.cache.all(), say),
    )


def wire(side: CollectionSidebar, chosen: gr.Textbox, changes: list[Any], services: Services) -> None:
    """`changes` are the events after which the list differs: a new dataset, another one chosen, a larger cache."""

    def show(search: str, facets: dict[str, str], name: str, request: gr.Request) -> tuple[str, str, str]:
        return listed(services, search, facets, name, translator_for(request))

    def toggle(facets: dict[str, str], event: gr.EventData) -> dict[str, str]:
        name, _, value = selected_key(event).partition(":")
        return {key: each for key, each in facets.items() if key != name} | (
            {} if facets.get(name) == value else {name: value}
        )

    side.chips.select(toggle, side.facets, side.facets, **EACH)
    gr.on([side.search.change, side.facets.change, *changes], show, [*side.filters, chosen], side.shown, **LATEST)
