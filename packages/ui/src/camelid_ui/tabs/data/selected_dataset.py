"""The chosen dataset: its facts, its rows, and one row as a conversation and as tokens.

Knows its components and handlers. What they do is `services.data`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError
from camelid_core.records import Record

from camelid_ui.i18n import Translator, t, translator_for
from camelid_ui.services import Services
from camelid_ui.services.data import DatasetEntry
from camelid_ui.tabs import EACH, LATEST, PRIVATE
from camelid_ui.tabs.components import SELECTED_KEY, ConfirmedButton, confirmed_button, error_message, panel, selectable
from camelid_ui.views import conversation, error, note
from camelid_ui.views.data import selected_dataset as view
from camelid_ui.views.numbers import count

PAGE = 6
IN_ORDER = {**LATEST, "concurrency_id": "data-rows"}
"""For all handlers that show other rows: the last request wins."""


@dataclass(frozen=True)
class DatasetPanel:
    """`body` has everything that needs rows: it is hidden while they are not on this machine."""

    notice: gr.HTML
    head: gr.HTML
    body: gr.Column
    rows: gr.HTML
    start: gr.State
    where: gr.HTML
    previous: gr.Button
    next: gr.Button
    goto: gr.Textbox
    bubbles: gr.HTML
    model: gr.Dropdown
    template: gr.Dropdown
    tokens: gr.HTML

    @property
    def page_outputs(self) -> list[Any]:
        return [self.start, self.rows, self.where, self.previous, self.next]

    @property
    def row_outputs(self) -> list[Any]:
        return [self.bubbles, self.tokens]


@dataclass(frozen=True)
class DatasetActions:
    """Buttons for the whole dataset, always visible."""

    use: gr.Button
    mix: gr.Button
    remove: ConfirmedButton


def head() -> tuple[gr.HTML, gr.HTML]:
    """The notice, and the heading of the dataset."""
    return panel(elem_id="data-notice"), selectable(elem_id="data-head")


def build(services: Services, notice: gr.HTML, head: gr.HTML) -> DatasetPanel:
    with gr.Column(elem_id="data-body") as body:
        rows = selectable(elem_id="data-rows")
        with gr.Row(elem_classes="camelid-actions"):
            back = gr.Button(t("data.back"), elem_id="data-back")
            next_button = gr.Button(t("data.next"), elem_id="data-next")
            goto = gr.Textbox(label=t("data.goto"), min_width=90, elem_id="data-goto", elem_classes="camelid-inline")
            where = panel(elem_id="data-where")
        bubbles = panel(elem_id="data-bubbles")
        with gr.Row():
            model = gr.Dropdown(
                services.models.names(), value=None, label=t("data.tokenizer"), allow_custom_value=True, min_width=150,
                elem_id="data-model",
            )  # fmt: skip
            template = gr.Dropdown(
                [(t("data.own_template"), ""), *((n, n) for n in services.models.templates())],
                value="", label=t("data.template"), min_width=150, elem_id="data-template",
            )  # fmt: skip
        tokens = panel(elem_id="data-tokens")
    return DatasetPanel(
        notice=notice, head=head, body=body, rows=rows, start=gr.State(0), where=where, previous=back, next=next_button,
        goto=goto, bubbles=bubbles, model=model, template=template, tokens=tokens,
    )  # fmt: skip


def bottom() -> DatasetActions:
    with gr.Row(elem_classes=["camelid-actions", "camelid-bottom"]):
        use = gr.Button(t("data.use"), variant="primary", elem_id="data-use")
        mix = gr.Button(t("mix.add_this"), elem_id="data-to-mix")
        remove = confirmed_button(
            t("data.remove"), t("data.remove_sure"), t("data.remove"), "data-remove", visible=False
        )
    return DatasetActions(use, mix, remove)


def page(services: Services, name: str, start: int, row: int, say: Translator) -> tuple[Any, ...]:
    """Updates for `page_outputs`: the rows from `start` on."""
    try:
        entry = services.data.collection.show(name)
        records = services.data.collection.page(name, start, PAGE) if entry.availability != "fetch" else []
    except CamelidError as problem:
        return start, error_message(problem), "", gr.update(interactive=False), gr.update(interactive=False)
    total = _total(services, entry, start, records)
    where = say("data.where", first=count(start + 1), last=count(start + len(records)), total=count(total))
    return (
        start,
        view.rows(records, start, row, say),
        note(where if records else ""),
        gr.update(interactive=start > 0),
        gr.update(interactive=start + PAGE < total),
    )


def _total(services: Services, entry: DatasetEntry, start: int, records: list[Record]) -> int:
    known = services.data.collection.rows(entry.name).total
    return known if known is not None else max(entry.rows, start + len(records))


def row_html(
    services: Services, name: str, row: int, model: str, template: str, cutoff: int, say: Translator
) -> tuple[str, str]:
    """Updates for `row_outputs`: one row as bubbles and as tokens."""
    try:
        record = services.data.collection.record(name, row)
    except CamelidError as problem:
        return error_message(problem), ""
    shown = conversation.bubbles(record.messages, say)
    if not model:
        return shown, note(say("data.no_model"))
    try:
        seen = services.models.tokens(model, record.messages, template, cutoff if record.is_text else 0)
    except CamelidError as problem:
        return shown, error_message(problem)
    return shown, conversation.tokens(seen, say, cutoff=cutoff)


def wire(
    widgets: DatasetPanel,
    chosen: gr.Textbox,
    row: gr.Textbox,
    cutoff: gr.Number,
    rows_changed: list[Any],
    services: Services,
) -> None:
    """`rows_changed` are the events after which other rows are shown."""

    def page_outputs(name: str, start: int, row: str, request: gr.Request) -> tuple[Any, ...]:
        return page(services, name, start, row_index(row), translator_for(request))

    def to_row(name: str, row: str, request: gr.Request) -> tuple[Any, ...]:
        return page(services, name, row_index(row) // PAGE * PAGE, row_index(row), translator_for(request))

    def show_row(
        name: str, row: str, model: str | None, template: str | None, cutoff: float | None, request: gr.Request
    ) -> tuple[str, str]:
        return row_html(
            services, name, row_index(row), model or "", template or "", int(cutoff or 0), translator_for(request)
        )

    def go(name: str, wanted: str, request: gr.Request) -> tuple[Any, Any]:
        """To the typed row number, or an error."""
        index = int(wanted) - 1 if wanted.strip().isdecimal() else -1
        if index < 0:
            return gr.skip(), error(translator_for(request)("data.no_number"))
        try:
            services.data.collection.record(name, index)
        except CamelidError as problem:
            return gr.skip(), error_message(problem)
        return str(index), gr.skip()

    at = [chosen, widgets.start, row]
    row_inputs = [chosen, row, widgets.model, widgets.template, cutoff]
    widgets.rows.select(None, None, row, js=SELECTED_KEY, **PRIVATE)
    current_row = gr.State("0")  # a textbox fires `change` even when nothing changed
    row.change(lambda row: row, row, current_row, **PRIVATE)
    current_row.change(to_row, [chosen, row], widgets.page_outputs, **IN_ORDER)
    gr.on(
        [*rows_changed, current_row.change, widgets.model.change, widgets.template.change, cutoff.change],
        show_row, row_inputs, widgets.row_outputs, **LATEST,
    )  # fmt: skip
    widgets.goto.submit(go, [chosen, widgets.goto], [row, widgets.where], **LATEST)
    for button, step in ((widgets.previous, -PAGE), (widgets.next, PAGE)):
        button.click(lambda start, step=step: max(0, start + step), widgets.start, widgets.start, **EACH).then(
            page_outputs, at, widgets.page_outputs, **IN_ORDER
        )


def row_index(row: str) -> int:
    """The row index in the address."""
    return int(row) if row.isdecimal() else 0
