"""The Data page: the collection on the left; on the right the chosen set, adding data, or the mix builder.

Knows which rooms there are and how one leads to another. Each room is a module of its own.
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
from camelid_ui.tabs.components import address, hidden_box, message
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
"""On a phone what was chosen stands below the list."""


@dataclass(frozen=True)
class DataTab:
    """`chosen` is the set's name, `row` the row, `room` what the right side shows: all of them in the address.
    Whatever changes `fresh` has the sets listed anew.

    `current` follows `chosen`: a box also says that it changed when the page around it is drawn anew, a state does not.
    """

    chosen: gr.Textbox
    current: gr.State
    row: gr.Textbox
    room: gr.Textbox
    side: sidebar.CollectionSidebar
    set: selected_dataset.DatasetPanel
    fetch: fetching.FetchPanel
    lengths: lengths.LengthsPanel
    lints: lints.LintsPanel
    bottom: selected_dataset.DatasetActions
    add: adding.AddPanel
    mix: mixing.MixturePanel
    fresh: gr.Textbox
    rooms: dict[str, gr.Column]

    @property
    def model(self) -> gr.Dropdown:
        return self.set.model


def build(services: Services) -> DataTab:
    name, row, room, mix = (address(each) for each in ("data", "row", "room", "mix"))
    rooms = {}
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=280, elem_id="data-side"):
            left = sidebar.build()
            cache.build(services)
        with gr.Column(scale=7, min_width=320, elem_classes="camelid-card", elem_id="data-panel"):
            with gr.Column(elem_id="data-set") as rooms[""]:
                notice, head = selected_dataset.head()
                fetch = fetching.build()
                shown = selected_dataset.build(services, notice, head)
                with shown.body:
                    measured = lengths.build()
                    checked = lints.build()
                bottom = selected_dataset.bottom()
            with gr.Column(visible=False, elem_id="data-adding") as rooms["add"]:
                add = adding.build()
            with gr.Column(visible=False, elem_id="data-mixing") as rooms["mix"]:
                mixed = mixing.build(mix)
    tab = DataTab(name, gr.State(""), row, room, left, shown, fetch, measured, checked, bottom, add, mixed,
                  hidden_box("data-fresh"), rooms)  # fmt: skip
    _wire(tab, services)
    return tab


def _wire(tab: DataTab, services: Services) -> None:
    version = gr.State("")
    tab.chosen.change(lambda name: name, tab.chosen, tab.current, **PRIVATE)
    fetching.wire(tab.fetch, tab.current, services)
    _choose(tab, services)  # first of what follows: the heading is there before tokens and counts
    arrived = [tab.current.change, tab.fetch.fetched.change]
    selected_dataset.wire(tab.set, tab.chosen, tab.row, tab.lengths.cutoff, arrived, services)
    lengths.wire(tab.lengths, [tab.current, tab.set.model, tab.set.template], arrived, services)
    lints.wire(tab.lints, tab.current, arrived, tab.row, version, services)
    add_handlers.wire(tab.add, tab.chosen, tab.room, tab.set.notice, services)
    mix_handlers.wire(tab.mix, services)
    _move(tab)
    news = [*arrived, tab.fresh.change, version.change, tab.mix.notice.change, tab.lengths.cut.change]
    sidebar.wire(tab.side, tab.chosen, news, services)


def _choose(tab: DataTab, services: Services) -> None:
    """What follows when a set is chosen."""
    shown = tab.set

    def choose(name: str, row: str, request: gr.Request) -> tuple[Any, ...]:
        say = translator_for(request)
        off, hidden = gr.update(interactive=False), gr.update(visible=False)
        try:
            entry = services.data.collection.show(name)
        except CamelidError as problem:
            nothing = (message(problem), *fetching.hidden(), hidden, off, off, *tab.bottom.remove.hidden())
            return (*nothing, *[gr.skip()] * 5)
        here = entry.availability != "fetch"
        index = selected_dataset.number(row)
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
        with contextlib.suppress(CamelidError):  # somebody else was quicker
            services.data.collection.remove(name)
        return services.data.collection.names()[0]

    confirm = tab.bottom.remove
    outputs = [
        shown.head, *tab.fetch.shown, shown.body, tab.bottom.use, tab.bottom.mix, confirm.ask,
        confirm.row, *shown.paged,
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
    """From room to room."""

    def show(room: str) -> list[Any]:
        return [gr.update(visible=name == (room if room in PANELS else "")) for name in PANELS]

    columns = [tab.rooms[name] for name in PANELS]
    picked = [tab.chosen, tab.row, tab.room, tab.set.notice]
    pick = "() => [camelid.picked, '0', '', '']"
    tab.side.list.select(None, None, picked, js=pick, **PRIVATE).then(None, None, None, js=_SCROLL_TO_PANEL, **PRIVATE)
    tab.set.head.select(None, None, picked, js=pick, **PRIVATE)
    for button, room in ((tab.side.add, "add"), (tab.side.mix, "mix")):
        button.click(lambda room=room: room, None, tab.room, **PRIVATE).then(
            None, None, None, js=_SCROLL_TO_PANEL, **PRIVATE
        )
    gr.on([tab.add.close.click, tab.mix.close.click], lambda: "", None, tab.room, **PRIVATE)
    tab.room.change(show, tab.room, columns, **PRIVATE)
    tab.bottom.mix.click(
        lambda mix, name: (mix_handlers.with_source(mix, name), "mix"),
        [tab.mix.mix, tab.chosen],
        [tab.mix.mix, tab.room],
        **PRIVATE,
    )
