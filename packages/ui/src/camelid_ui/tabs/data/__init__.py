"""The Data page: the collection on the left; on the right the chosen dataset, adding data, or the mixture builder.

Knows the panels and how one leads to another. Each panel is a module of its own.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError

from camelid_ui.i18n import translator_for
from camelid_ui.services import Services
from camelid_ui.tabs import PRIVATE
from camelid_ui.tabs.components import address, error_message, hidden_box
from camelid_ui.views.data import selected_dataset as chosen_view

from . import (
    add as adding,
)
from . import (
    add_handlers,
    cache,
    lengths,
    lints,
    mix_handlers,
    selected_dataset,
    sidebar,
)
from . import (
    fetch as fetching,
)
from . import (
    mix as mixing,
)

PANELS = ("", "add", "mix")
_SCROLL_TO_PANEL = (
    "() => { if (innerWidth <= 700) document.getElementById('data-panel').scrollIntoView({behavior: 'smooth'}); }"
)
"""On a phone the panel is below the list."""


@dataclass(frozen=True)
class DataTab:
    """`chosen` is the dataset's name, `row` the row, `open_panel` the panel on the right: all of them in the address.
    A change of `fresh` lists the datasets again.

    `current` follows `chosen`: a textbox also fires `change` when the page around it is redrawn, a state does not.
    """

    chosen: gr.Textbox
    current: gr.State
    row: gr.Textbox
    open_panel: gr.Textbox
    side: sidebar.CollectionSidebar
    set: selected_dataset.DatasetPanel
    fetch: fetching.FetchPanel
    lengths: lengths.LengthsPanel
    lints: lints.LintsPanel
    bottom: selected_dataset.DatasetActions
    add: adding.AddPanel
    mix: mixing.MixturePanel
    fresh: gr.Textbox
    panels: dict[str, gr.Column]

    @property
    def model(self) -> gr.Dropdown:
        return self.set.model


def build(services: Services) -> DataTab:
    name, row, open_panel, mix = (address(each) for each in ("data", "row", "room", "mix"))
    panels = {}
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=280, elem_id="data-side"):
            side = sidebar.build()
            cache.build(services)
        with gr.Column(scale=7, min_width=320, elem_classes="camelid-card", elem_id="data-panel"):
            with gr.Column(elem_id="data-set") as panels[""]:
                notice, head = selected_dataset.head()
                fetch = fetching.build()
                shown = selected_dataset.build(services, notice, head)
                with shown.body:
                    lengths_panel = lengths.build()
                    lint_panel = lints.build()
                bottom = selected_dataset.bottom()
            with gr.Column(visible=False, elem_id="data-adding") as panels["add"]:
                add = adding.build()
            with gr.Column(visible=False, elem_id="data-mixing") as panels["mix"]:
                mixture = mixing.build(mix)
    tab = DataTab(name, gr.State(""), row, open_panel, side, shown, fetch, lengths_panel, lint_panel, bottom, add,
                  mixture, hidden_box("data-fresh"), panels)  # fmt: skip
    _wire(tab, services)
    return tab


def _wire(tab: DataTab, services: Services) -> None:
    version = gr.State("")
    tab.chosen.change(lambda name: name, tab.chosen, tab.current, **PRIVATE)
    fetching.wire(tab.fetch, tab.current, services)
    _choose(tab, services)  # first of these handlers: the heading is shown before tokens and counts
    rows_changed = [tab.current.change, tab.fetch.fetched.change]
    selected_dataset.wire(tab.set, tab.chosen, tab.row, tab.lengths.cutoff, rows_changed, services)
    lengths.wire(tab.lengths, [tab.current, tab.set.model, tab.set.template], rows_changed, services)
    lints.wire(tab.lints, tab.current, rows_changed, tab.row, version, services)
    add_handlers.wire(tab.add, tab.chosen, tab.open_panel, tab.set.notice, services)
    mix_handlers.wire(tab.mix, services)
    _move(tab)
    changes = [*rows_changed, tab.fresh.change, version.change, tab.mix.notice.change, tab.lengths.cut.change]
    sidebar.wire(tab.side, tab.chosen, changes, services)


def _choose(tab: DataTab, services: Services) -> None:
    """Showing the chosen dataset."""
    shown = tab.set

    def choose(name: str, row: str, request: gr.Request) -> tuple[Any, ...]:
        say = translator_for(request)
        off, hidden = gr.update(interactive=False), gr.update(visible=False)
        try:
            entry = services.data.collection.show(name)
        except CamelidError as problem:
            nothing = (error_message(problem), *fetching.hidden(), hidden, off, off, *tab.bottom.remove.hidden())
            return (*nothing, *[gr.skip()] * 5)
        here = entry.availability != "fetch"
        index = selected_dataset.row_index(row)
        start = index // selected_dataset.PAGE * selected_dataset.PAGE
        return (
            chosen_view.heading(entry, say, services.data.collection.facts(name)),
            *fetching.show(services, entry, say),
            gr.update(visible=here),
            gr.update(interactive=here),
            gr.update(interactive=True),
            gr.update(visible=entry.added),
            hidden,
            *(selected_dataset.page(services, name, start, index, say) if here else [gr.skip()] * 5),
        )

    def remove(name: str) -> str:
        with contextlib.suppress(CamelidError):  # another page removed it first
            services.data.collection.remove(name)
        return services.data.collection.names()[0]

    confirm = tab.bottom.remove
    outputs = [
        shown.head, *tab.fetch.shown, shown.body, tab.bottom.use, tab.bottom.mix, confirm.ask,
        confirm.row, *shown.page_outputs,
    ]  # fmt: skip
    gr.on(
        [tab.current.change, tab.fetch.fetched.change],
        choose,
        [tab.current, tab.row],
        outputs,
        **selected_dataset.IN_ORDER,
    )
    confirm.yes.click(remove, tab.chosen, tab.chosen, **PRIVATE)


def _move(tab: DataTab) -> None:
    """Switching between the panels."""

    def show(name: str) -> list[Any]:
        return [gr.update(visible=each == (name if name in PANELS else "")) for each in PANELS]

    columns = [tab.panels[name] for name in PANELS]
    selection = [tab.chosen, tab.row, tab.open_panel, tab.set.notice]
    select_js = "() => [camelid.selectedKey, '0', '', '']"
    tab.side.list.select(None, None, selection, js=select_js, **PRIVATE).then(
        None, None, None, js=_SCROLL_TO_PANEL, **PRIVATE
    )
    tab.set.head.select(None, None, selection, js=select_js, **PRIVATE)
    for button, name in ((tab.side.add, "add"), (tab.side.mix, "mix")):
        button.click(lambda name=name: name, None, tab.open_panel, **PRIVATE).then(
            None, None, None, js=_SCROLL_TO_PANEL, **PRIVATE
        )
    gr.on([tab.add.close.click, tab.mix.close.click], lambda: "", None, tab.open_panel, **PRIVATE)
    tab.open_panel.change(show, tab.open_panel, columns, **PRIVATE)
    tab.bottom.mix.click(
        lambda mix, name: (mix_handlers.with_source(mix, name), "mix"),
        [tab.mix.mix, tab.chosen],
        [tab.mix.mix, tab.open_panel],
        **PRIVATE,
    )
