"""Exporting, on the Merge & export page: a model, the formats it can be written in with their sizes, several at once.

Knows its components. What they do is `services.exports`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError

from camelid_ui.i18n import Translator, t, translator_for
from camelid_ui.services import Services
from camelid_ui.services.exports import ExportOffer
from camelid_ui.views import Cell, ListingRow, cell, code, empty, listing, note
from camelid_ui.views.numbers import duration, size

from . import LATEST, PRIVATE
from .components import error_message, panel


@dataclass(frozen=True)
class ExportForm:
    source: gr.Dropdown
    formats: gr.CheckboxGroup
    offers: gr.HTML
    command: gr.HTML
    start: gr.Button
    notice: gr.HTML


def build() -> ExportForm:
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            source = gr.Dropdown(
                [], value=None, label=t("export.source"), info=t("export.source_help"), elem_id="export-source"
            )
            formats = gr.CheckboxGroup(
                [], value=[], label=t("export.formats"), info=t("export.formats_help"), elem_id="export-formats"
            )
            with gr.Row(elem_classes="camelid-actions"):
                start = gr.Button(t("export.start"), variant="primary", interactive=False, elem_id="export-start")
            notice = panel(elem_id="export-notice")
        with gr.Column(scale=6, min_width=320):
            offers = panel(elem_id="export-offers")
    return ExportForm(source, formats, offers, panel(elem_id="export-command"), start, notice)


def wire(form: ExportForm, services: Services, job: gr.Textbox) -> None:
    """`job` is the number of the job that the page shows."""

    def offered(source: str | None, request: gr.Request) -> tuple[Any, ...]:
        say = translator_for(request)
        if not source:
            return gr.update(choices=[], value=[]), empty(say("export.choose")), ""
        try:
            offers = services.exports.offers(source)
        except CamelidError as problem:
            return gr.update(choices=[], value=[]), error_message(problem), ""
        choices = [(_label(offer), offer.key) for offer in offers if not offer.refusal]
        return gr.update(choices=choices, value=[]), _table(offers, say), ""

    def chosen(source: str | None, keys: list[str], request: gr.Request) -> tuple[Any, ...]:
        ready = bool(source and keys)
        say = translator_for(request)
        try:
            lines = services.exports.command(source or "", keys) if ready else ""
        except CamelidError as problem:
            return error_message(problem), gr.update(interactive=False)
        return code(lines, say("train.command"), say("copy")) if ready else "", gr.update(interactive=ready)

    def start(source: str | None, keys: list[str]) -> tuple[Any, ...]:
        try:
            jobs = services.exports.start(source or "", keys)
        except CamelidError as problem:
            return gr.skip(), error_message(problem), gr.skip()
        return str(jobs[0].id), "", []

    form.source.change(offered, form.source, [form.formats, form.offers, form.command], **LATEST)
    gr.on(
        [form.source.change, form.formats.change], chosen, [form.source, form.formats], [form.command, form.start],
        **LATEST,
    )  # fmt: skip
    form.start.click(start, [form.source, form.formats], [job, form.notice, form.formats], **PRIVATE)


def _label(offer: ExportOffer) -> str:
    return offer.key if offer.key.startswith(offer.format) else f"{offer.format} · {offer.key}"


def _table(offers: list[ExportOffer], say: Translator) -> str:
    """What can be made, and below it what cannot, with the reason: once for all formats that share it."""
    timed = any(offer.seconds is not None for offer in offers)  # nobody knows before the first export
    heads = [say(f"export.{head}") for head in ("format", "size", "memory", *(("time",) if timed else ()))]
    rows = [
        ListingRow(
            [
                Cell(_label(offer), "main"),
                cell(size(offer.size), "number"),
                cell(size(offer.memory), "number"),
                *([cell(duration(offer.seconds), "number")] if timed else []),
            ],
        )
        for offer in offers
        if not offer.refusal
    ]
    refused: dict[str, list[str]] = {}
    for offer in offers:
        if offer.refusal:
            refused.setdefault(offer.refusal, []).append(_label(offer))
    notes = [note(f"{', '.join(labels)}: {reason}") for reason, labels in refused.items()]
    return listing(heads, rows, say("export.caption")) + "".join(notes)
