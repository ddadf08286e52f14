"""The token cache: its entries, and deleting unused ones. Knows its components and handlers."""

from __future__ import annotations

from typing import Any

import gradio as gr

from camelid_ui.i18n import t, translator_for
from camelid_ui.services import Services
from camelid_ui.tabs import PRIVATE
from camelid_ui.tabs.components import panel
from camelid_ui.views import note
from camelid_ui.views.data import cache as view
from camelid_ui.views.numbers import size


def build(services: Services) -> None:
    """An accordion with the table and one button; entries that runs are using stay."""
    with gr.Accordion(t("cache.title"), open=False, elem_id="data-cache") as fold:
        table = panel(elem_id="data-cache-list")
        with gr.Row(elem_classes="camelid-actions"):
            days = gr.Number(
                30, label=t("cache.days"), precision=0, minimum=0, min_width=110, elem_id="data-cache-days",
                elem_classes="camelid-inline",
            )  # fmt: skip
            prune = gr.Button(t("cache.prune"), elem_id="data-cache-prune")
        notice = panel(elem_id="data-cache-notice")

    def show(request: gr.Request) -> str:
        return view.table(services.data.cache.all(), translator_for(request))

    def freed(days: float | None, request: gr.Request) -> tuple[Any, ...]:
        say = translator_for(request)
        services.data.lengths.forget()
        number = services.data.cache.prune(older_than_days=float(days or 0))
        return view.table(services.data.cache.all(), say), note(say("cache.freed", size=size(number)))

    fold.expand(show, None, table, **PRIVATE)
    prune.click(freed, days, [table, notice], **PRIVATE)
