"""The chosen set: what it is, its rows, and one row as a conversation and as tokens.

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
from camelid_ui.tabs.components import SELECTED_KEY, ConfirmedButton, confirmed_button, message, panel, selectable
from camelid_ui.views import conversation, error, note
from camelid_ui.views.data import selected_dataset as view
from camelid_ui.views.numbers import count

PAGE = 6
IN_ORDER = {**LATEST, "concurrency_id": "data-rows"}
"""For all that turns to other rows: what was asked for last is what stays."""


@dataclass(frozen=True)
class DatasetPanel:
    """`body` has all that needs rows: it is hidden while they are not on this machine."""

    notice: gr.HTML
    head: gr.HTML
    body: gr.Column
    rows: gr.HTML
    start: gr.State
    where: gr.HTML
    back: gr.Button
    on: gr.Button
    goto: gr.Textbox
    bubbles: gr.HTML
    model: gr.Dropdown
    template: gr.Dropdown
    tokens: gr.HTML

    @property
    def paged(self) -> list[Any]:
        return [self.start, self.rows, self.where, self.back, self.on]

    @property
    def looked(self) -> list[Any]:
        return [self.bubbles, self.tokens]


@dataclass(frozen=True)
class DatasetActions:
    """What can be done with the whole set, always in sight."""

    use: gr.Button
    mix: gr.Button
    remove: ConfirmedButton


def head() -> tuple[gr.HTML, gr.HTML]:
    """What happened last, and what the set is."""
    return panel(elem_id="data-notice"), selectable(elem_id="data-head")


def build(services: Services, notice: gr.HTML, head: gr.HTML) -> DatasetPanel:
    with gr.Column(elem_id="data-body") as body:
        rows = selectable(elem_id="data-rows")
        with gr.Row(elem_classes="camelid-actions"):
            back = gr.Button(t("data.back"), elem_id="data-back")
            on = gr.Button(t("data.next"), elem_id="data-next")
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
        notice=notice, head=head, body=body, rows=rows, start=gr.State(0), where=where, back=back, on=on,
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
    """Updates for `paged`: the rows from `start` on."""
    try:
        entry = services.data.collection.show(name)
        records = services.data.collection.page(name, start, PAGE) if entry.availability != "fetch" else []
    except CamelidError as problem:
        return start, message(problem), "", gr.update(interactive=False), gr.update(interactive=False)
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


def look(
    services: Services, name: str, row: int, model: str, template: str, cutoff: int, say: Translator
) -> tuple[str, str]:
    """Updates for `looked`: one row as bubbles and as tokens."""
    try:
        record = services.data.collection.record(name, row)
    except CamelidError as problem:
        return message(problem), ""
    shown = conversation.bubbles(record.messages, say)
    if not model:
        return shown, note(say("data.no_model"))
    try:
        seen = services.models.tokens(model, record.messages, template)
    except CamelidError as problem:
        return shown, message(problem)
    return shown, conversation.tokens(seen, say, cutoff=cutoff)


def wire(
    room: DatasetPanel, chosen: gr.Textbox, row: gr.Textbox, cutoff: gr.Number, arrived: list[Any], services: Services
) -> None:
    """`arrived` are the events of rows that are new here."""

    def paged(name: str, start: int, row: str, request: gr.Request) -> tuple[Any, ...]:
        return page(services, name, start, number(row), translator_for(request))

    def to_row(name: str, row: str, request: gr.Request) -> tuple[Any, ...]:
        return page(services, name, number(row) // PAGE * PAGE, number(row), translator_for(request))

    def see(
        name: str, row: str, model: str | None, template: str | None, cutoff: float | None, request: gr.Request
    ) -> tuple[str, str]:
        return look(services, name, number(row), model or "", template or "", int(cutoff or 0), translator_for(request))

    def go(name: str, wanted: str, request: gr.Request) -> tuple[Any, Any]:
        """To the row that was typed, or why not."""
        index = int(wanted) - 1 if wanted.strip().isdecimal() else -1
        if index < 0:
            return gr.skip(), error(translator_for(request)("data.no_number"))
        try:
            services.data.collection.record(name, index)
        except CamelidError as problem:
            return gr.skip(), message(problem)
        return str(index), gr.skip()

    at = [chosen, room.start, row]
    looking = [chosen, row, room.model, room.template, cutoff]
    room.rows.select(None, None, row, js=SELECTED_KEY, **PRIVATE)
    now = gr.State("0")  # a box says that it changed also when nothing did
    row.change(lambda row: row, row, now, **PRIVATE)
    now.change(to_row, [chosen, row], room.paged, **IN_ORDER)
    gr.on(
        [*arrived, now.change, room.model.change, room.template.change, cutoff.change],
        see, looking, room.looked, **LATEST,
    )  # fmt: skip
    room.goto.submit(go, [chosen, room.goto], [row, room.where], **LATEST)
    for button, step in ((room.back, -PAGE), (room.on, PAGE)):
        button.click(lambda start, step=step: max(0, start + step), room.start, room.start, **EACH).then(
            paged, at, room.paged, **IN_ORDER
        )


def number(row: str) -> int:
    """A row as the address has it."""
    return int(row) if row.isdecimal() else 0
