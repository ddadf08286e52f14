"""The Data page: the collection, one set's rows, and a row as the model will see it.

Knows its components and their handlers. What they do is `services.data`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError

from camelid_ui.services import Services
from camelid_ui.services.data import Entry
from camelid_ui.text import Voice, t, voice_of
from camelid_ui.views import conversation, error, note
from camelid_ui.views import data as view

from . import PRIVATE
from .parts import Confirmed, address, chooser, confirmed, key_of, message, panel

PAGE = 6


@dataclass(frozen=True)
class DataTab:
    """`chosen` is the set's name, in the address; `use` takes it to training."""

    chosen: gr.Textbox
    row: gr.Textbox
    list: gr.HTML
    search: gr.Textbox
    language: gr.Dropdown
    head: gr.HTML
    rows: gr.HTML
    start: gr.State
    where: gr.HTML
    bubbles: gr.HTML
    model: gr.Dropdown
    template: gr.Dropdown
    cutoff: gr.Number
    tokens: gr.HTML
    histogram: gr.HTML
    use: gr.Button
    remove: Confirmed
    back: gr.Button
    on: gr.Button


def build(services: Services) -> DataTab:
    chosen, row = address("data"), address("row")
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=280):
            search = gr.Textbox(label=t("data.search"), placeholder=t("data.search_hint"), elem_id="data-search")
            every = [(t("data.any_language"), ""), *((each, each) for each in services.data.languages())]
            language = gr.Dropdown(every, value="", label=t("data.language"), elem_id="data-language")
            entries = chooser(elem_id="data-list")
            _add(services, search, chosen)
        with gr.Column(scale=7, min_width=320, elem_classes="camelid-card"):
            head = panel(elem_id="data-head")
            with gr.Row(elem_classes="camelid-actions"):
                use = gr.Button(t("data.use"), variant="primary", elem_id="data-use")
                remove = confirmed(
                    t("data.remove"), t("data.remove_sure"), t("data.remove"), "data-remove", visible=False
                )
            rows = chooser(elem_id="data-rows")
            with gr.Row(elem_classes="camelid-actions"):
                back, on = (
                    gr.Button(t("data.back"), elem_id="data-back"),
                    gr.Button(t("data.next"), elem_id="data-next"),
                )
                where = panel()
            bubbles = panel(elem_id="data-bubbles")
            with gr.Row():
                model = gr.Dropdown(
                    services.models.names(),
                    value=None,
                    label=t("data.tokenizer"),
                    allow_custom_value=True,
                    min_width=150,
                    elem_id="data-model",
                )
                template = gr.Dropdown(
                    [(t("data.own_template"), ""), *((n, n) for n in services.models.templates())],
                    value="", label=t("data.template"), min_width=150, elem_id="data-template",
                )  # fmt: skip
                cutoff = gr.Number(512, label=t("data.cutoff"), precision=0, min_width=100, elem_id="data-cutoff")
            tokens = panel(elem_id="data-tokens")
            histogram = panel(elem_id="data-histogram")
    tab = DataTab(
        chosen=chosen, row=row, list=entries, search=search, language=language, head=head, rows=rows,
        start=gr.State(0), where=where, bubbles=bubbles, model=model, template=template, cutoff=cutoff,
        tokens=tokens, histogram=histogram, use=use, remove=remove, back=back, on=on,
    )  # fmt: skip
    _wire(tab, services)
    return tab


def _add(services: Services, search: gr.Textbox, chosen: gr.Textbox) -> None:
    with gr.Accordion(t("data.add"), open=False, elem_id="data-add"):
        upload = gr.File(
            label=t("data.file"),
            file_types=[".json", ".jsonl"],
            height=110,
            elem_id="data-file",
            elem_classes="camelid-file",
            show_label=False,
        )
        path = gr.Textbox(
            label=t("data.path"), placeholder="/data/rows.jsonl", info=t("data.path_help"), elem_id="data-path"
        )
        name = gr.Textbox(label=t("data.new_name"), info=t("data.new_name_help"), elem_id="data-name")
        button = gr.Button(t("data.add_button"), variant="primary", elem_id="data-add-button")
        said = panel(elem_id="data-add-said")

    def add(file: str | None, typed: str, called: str, request: gr.Request) -> tuple[Any, ...]:
        say = voice_of(request)
        if not (file or typed.strip()):
            return error(say("data.add_nothing")), gr.skip(), gr.skip()
        try:
            entry = services.data.add(file or typed.strip(), called.strip())
        except CamelidError as problem:
            return message(problem), gr.skip(), gr.skip()
        return note(say("data.added", name=entry.name, rows=entry.rows)), entry.name, ""

    button.click(add, [upload, path, name], [said, chosen, search], **PRIVATE)


def _wire(tab: DataTab, services: Services) -> None:
    def entries(search: str, language: str, chosen: str, request: gr.Request) -> str:
        return view.collection(services.data.all(search, language), chosen, voice_of(request))

    def choose(
        name: str, row: str, search: str, language: str, model: str, template: str, cutoff: float, request: gr.Request
    ) -> tuple[Any, ...]:
        """A set was chosen: its list entry, its heading, its rows, and one of them."""
        say = voice_of(request)
        shown = entries(search, language, name, request)
        start = int(row) // PAGE * PAGE if row.isdecimal() else 0
        try:
            entry = services.data.show(name)
        except CamelidError as problem:
            nothing = ("", "", gr.skip(), gr.skip(), "", "", "")
            return shown, message(problem), gr.update(interactive=False), *tab.remove.hidden(), 0, *nothing
        removing = (gr.update(visible=entry.added), gr.update(visible=False))
        rest = (*page(name, start, row, request), *look(name, row, model, template, cutoff, request))
        return shown, view.heading(entry, say), gr.update(interactive=True), *removing, start, *rest

    def page(name: str, start: int, row: str, request: gr.Request) -> tuple[Any, ...]:
        say = voice_of(request)
        try:
            entry = services.data.show(name)
            records = services.data.page(name, start, PAGE)
        except CamelidError as problem:
            return message(problem), "", gr.update(interactive=False), gr.update(interactive=False)
        where = say("data.where", first=start + 1, last=start + len(records), total=_total(entry, start, records))
        return (
            view.rows(records, start, int(row) if row.isdecimal() else 0, say),
            note(where),
            gr.update(interactive=start > 0),
            gr.update(interactive=start + PAGE < entry.rows),
        )

    def look(
        name: str, row: str, model: str, template: str, cutoff: float, request: gr.Request
    ) -> tuple[str, str, str]:
        index = int(row) if row.isdecimal() else 0
        return _look(services, name, index, model or "", template or "", int(cutoff or 0), voice_of(request))

    def remove(name: str) -> str:
        services.data.remove(name)
        return services.data.names()[0]

    paging = [tab.chosen, tab.start, tab.row]
    paged = [tab.rows, tab.where, tab.back, tab.on]
    seen_as = [tab.model, tab.template, tab.cutoff]
    looking = [tab.chosen, tab.row, *seen_as]
    looked = [tab.bubbles, tab.tokens, tab.histogram]
    searching = [tab.search.change, tab.language.change]
    gr.on(searching, entries, [tab.search, tab.language, tab.chosen], tab.list, trigger_mode="always_last", **PRIVATE)
    tab.list.select(_first_row, None, [tab.chosen, tab.row], **PRIVATE)
    tab.rows.select(key_of, None, tab.row, **PRIVATE)
    tab.chosen.change(
        choose,
        [tab.chosen, tab.row, tab.search, tab.language, *seen_as],
        [tab.list, tab.head, tab.use, tab.remove.ask, tab.remove.row, tab.start, *paged, *looked],
        **PRIVATE,
    )
    tab.row.change(page, paging, paged, **PRIVATE)
    gr.on(
        [tab.row.change, tab.model.change, tab.template.change, tab.cutoff.change],
        look, looking, looked, trigger_mode="always_last", **PRIVATE,
    )  # fmt: skip
    tab.back.click(lambda start: max(0, start - PAGE), tab.start, tab.start, **PRIVATE).then(
        page, paging, paged, **PRIVATE
    )
    tab.on.click(lambda start: start + PAGE, tab.start, tab.start, **PRIVATE).then(page, paging, paged, **PRIVATE)
    tab.remove.yes.click(remove, tab.chosen, tab.chosen, **PRIVATE)


def _first_row(event: gr.EventData) -> tuple[str, str]:
    return key_of(event), "0"


def _total(entry: Entry, start: int, records: list[Any]) -> int:
    return max(entry.rows, start + len(records))


def _look(
    services: Services, name: str, index: int, model: str, template: str, cutoff: int, say: Voice
) -> tuple[str, str, str]:
    try:
        record = services.data.record(name, index)
    except CamelidError as problem:
        return message(problem), "", ""
    shown = conversation.bubbles(record.messages, say)
    if not model:
        return shown, note(say("data.no_model")), ""
    try:
        seen = services.models.tokens(model, record.messages, template)
        measured = services.data.lengths(name, model, template)
    except CamelidError as problem:
        return shown, message(problem), ""
    return shown, conversation.tokens(seen, say), view.lengths(measured, cutoff, say) if cutoff > 0 else ""
