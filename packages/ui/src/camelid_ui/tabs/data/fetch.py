"""Fetching: for a dataset whose rows are not on this machine, what to fetch, and a button that does it.

Knows its components and handlers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError

from camelid_ui.i18n import Translator, t, translator_for
from camelid_ui.services import Services
from camelid_ui.services.data import DatasetEntry
from camelid_ui.tabs import PRIVATE
from camelid_ui.tabs.components import error_message, panel, progress_of
from camelid_ui.views.data import selected_dataset as view

WAIT = 1.0


@dataclass(frozen=True)
class FetchPanel:
    """`fetched` changes once the rows of the shown dataset were fetched."""

    missing: gr.HTML
    fetch: gr.Button
    busy: gr.HTML
    timer: gr.Timer
    fetched: gr.State

    @property
    def shown(self) -> list[Any]:
        return [self.missing, self.fetch, self.busy, self.timer]


def build() -> FetchPanel:
    missing = panel(elem_id="data-missing")
    with gr.Row(elem_classes="camelid-actions"):
        fetch = gr.Button(t("data.fetch_now"), elem_id="data-fetch", visible=False)
        busy = panel(elem_id="data-fetching")
    return FetchPanel(missing, fetch, busy, gr.Timer(1.0, active=False), gr.State(0))


def hidden() -> tuple[Any, ...]:
    return "", gr.update(visible=False), "", gr.Timer(active=False)


def show(services: Services, entry: DatasetEntry, say: Translator) -> tuple[Any, ...]:
    """Updates for `shown`."""
    if not entry.missing:
        return hidden()
    work = services.data.fetch.running(entry.name)
    under_way = work is not None and work.running
    return (
        view.missing(entry, say),
        gr.update(visible=entry.fetchable, interactive=not under_way),
        progress_of(work, say) if work is not None else "",
        gr.Timer(active=under_way),
    )


def wire(widgets: FetchPanel, chosen: gr.State, services: Services) -> None:
    def fetch(name: str, fetched: int, request: gr.Request) -> tuple[Any, ...]:
        try:
            services.data.fetch.start(name).wait(WAIT)
        except CamelidError as problem:
            return gr.skip(), gr.skip(), error_message(problem), gr.skip(), fetched
        return watch(name, fetched, request)

    def watch(name: str, fetched: int, request: gr.Request) -> tuple[Any, ...]:
        work = services.data.fetch.running(name)
        done = work is not None and work.state == "done"
        entry = services.data.collection.show(name)
        return *show(services, entry, translator_for(request)), fetched + done

    outputs = [*widgets.shown, widgets.fetched]
    widgets.fetch.click(fetch, [chosen, widgets.fetched], outputs, **PRIVATE)
    widgets.timer.tick(watch, [chosen, widgets.fetched], outputs, **PRIVATE)
