"""What can follow an export: its proof, and its publication, whose card and files are shown before anything leaves.

Knows its components. What they do is `services.exports`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError
from camelid_core.paths import home
from camelid_train.publishing.publish_plan import PublishPlan

from camelid_ui.i18n import Translator, t, translator_for
from camelid_ui.services import Services
from camelid_ui.views import Cell, ListingRow, cell, error, esc, listing
from camelid_ui.views.card import card
from camelid_ui.views.numbers import size

from . import LATEST, PRIVATE
from .components import error_message, panel
from .job import JobPanel


@dataclass(frozen=True)
class ExportResult:
    """Shown for a job that made a model."""

    column: gr.Column
    prove: gr.Button
    to: gr.Textbox
    name: gr.Textbox
    look: gr.Button
    publish: gr.Button
    shown: gr.HTML
    notice: gr.HTML


def build() -> ExportResult:
    with gr.Column(visible=False, elem_id="export-result", elem_classes="camelid-card") as column:
        with gr.Row(elem_classes="camelid-actions"):
            prove = gr.Button(t("proof.start"), elem_id="export-prove")
            panel(t("proof.help"), elem_classes="camelid-note")
        with gr.Accordion(t("publish.title"), open=False, elem_id="export-publish"):
            with gr.Row():
                to = gr.Textbox(
                    str(home() / "hub"), label=t("publish.to"), info=t("publish.to_help"), elem_id="publish-to"
                )
                name = gr.Textbox("", label=t("publish.name"), info=t("publish.name_help"), elem_id="publish-name")
            with gr.Row(elem_classes="camelid-actions"):
                look = gr.Button(t("publish.look"), elem_id="publish-look")
                publish = gr.Button(
                    t("publish.start"), variant="primary", interactive=False, elem_id="publish-start"
                )  # fmt: skip
            shown = panel(elem_id="publish-plan")
        notice = panel(elem_id="export-result-notice")
    return ExportResult(column, prove, to, name, look, publish, shown, notice)


def wire(result: ExportResult, services: Services, job: JobPanel) -> None:
    def follow(number: str) -> tuple[Any, ...]:
        """The buttons, for a job that made something; a plan that was shown is of another job or of before."""
        visible = False
        if number.isdecimal():
            try:
                visible = services.exports.can_follow(services.jobs.show(int(number)).job)
            except CamelidError:
                visible = False
        return gr.update(visible=visible), "", gr.update(interactive=False), ""

    def prove(number: str) -> tuple[Any, ...]:
        try:
            return str(services.exports.prove(int(number)).id), ""
        except (CamelidError, ValueError) as problem:
            return gr.skip(), error_message(problem)

    def look(number: str, to: str, name: str, request: gr.Request) -> tuple[Any, ...]:
        try:
            planned = services.exports.publication(int(number), to, name)
        except (CamelidError, ValueError) as problem:
            return error_message(problem), gr.update(interactive=False)
        return _plan(planned, translator_for(request)), gr.update(interactive=True)

    def publish(number: str, to: str, name: str) -> tuple[Any, ...]:
        try:
            return str(services.exports.publish(int(number), to, name).id), ""
        except (CamelidError, ValueError) as problem:
            return gr.skip(), error_message(problem)

    where = [job.job, result.to, result.name]
    shown = [result.column, result.shown, result.publish, result.notice]
    gr.on([job.job.change, job.state_changed.change], follow, job.job, shown, **LATEST)
    result.prove.click(prove, job.job, [job.job, result.notice], **PRIVATE)
    result.look.click(look, where, [result.shown, result.publish], **PRIVATE)
    result.publish.click(publish, where, [job.job, result.notice], **PRIVATE)
    gr.on(
        [result.to.change, result.name.change],
        lambda: ("", gr.update(interactive=False)), None, [result.shown, result.publish], **PRIVATE,
    )  # fmt: skip


def _plan(planned: PublishPlan, say: Translator) -> str:
    """What leaves and what stays, the licences, the warnings, and the card as it will read."""
    words = [card("\n".join(planned.licence)), *map(error, planned.warnings)]
    heads = [say(f"publish.{head}") for head in ("file", "size", "what")]
    for branch in planned.branches:
        words.append(f"<h3>{esc(f'{branch.repository}:{branch.branch}')} · {esc(size(branch.size))}</h3>")
        leaving = [
            ListingRow([Cell(esc(each.name), "main"), cell(size(each.size), "number"), cell(say("publish.leaves"))])
            for each in branch.files
        ]
        staying = [ListingRow([Cell(esc(each.name), "main"), cell(""), cell(each.why)]) for each in branch.left_out]
        words.append(listing(heads, leaving + staying, say("publish.caption")))
        if branch.card:
            words.append(f"<details open><summary>README.md</summary>{card(branch.card)}</details>")
    return "".join(words)
