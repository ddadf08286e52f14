"""The Batch predict page: an input file, a preview of its first prompts, and predictions while the job runs.

Knows its components. What they do is `services.predictions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError
from camelid_core.readers import COMPRESSED_SUFFIXES, SUFFIXES, Columns
from camelid_serve.config import PredictConfig

from camelid_ui.config_form import ConfigForm
from camelid_ui.field_values import InvalidFields
from camelid_ui.i18n import Translator, t, translator_for
from camelid_ui.services import Services
from camelid_ui.services.jobs import JobView
from camelid_ui.services.prediction_table import PAGE_ROWS, RowSelection
from camelid_ui.views import code, empty, error, note
from camelid_ui.views import jobs as jobs_view
from camelid_ui.views import predict as view
from camelid_ui.views.numbers import count

from . import EACH, LATEST, PRIVATE
from .components import SELECTED_KEY, address, error_message, panel, selectable
from .job import JobPanel, build_job

_HIDDEN_FIELDS = ("output", "out")
ROLES = ("instruction", "input", "system", "messages")
"""The roles that a column can have in a row to be answered."""
ROW_VIEWS = ("all", "failed", "worst")


@dataclass(frozen=True)
class PredictTab:
    form: ConfigForm[PredictConfig]
    panel: JobPanel
    file: gr.File
    preview: gr.HTML
    command: gr.HTML
    start: gr.Button
    notice: gr.HTML
    list: gr.HTML
    mapping: gr.Accordion
    roles: dict[str, gr.Dropdown]
    rows: gr.Column
    showing: gr.Radio
    answers: gr.HTML
    first: gr.State
    paging: gr.Row
    where: gr.HTML
    previous: gr.Button
    next: gr.Button

    @property
    def model(self) -> Any:
        return self.form.widgets["model"]


def build(services: Services) -> PredictTab:
    job = address("predict")
    form = ConfigForm(
        PredictConfig,
        "predict",
        {
            "model": services.models.names,
            "template": lambda: [(t("data.own_template"), ""), *services.models.templates()],
            "also": services.models.names,
            "reference": list,
            "engine": lambda: services.host.registry("camelid_engines").names(),
        },
    )
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            file = gr.File(
                label=t("predict.file"),
                file_types=[*SUFFIXES, *COMPRESSED_SUFFIXES],
                height=120,
                elem_id="predict-file",
                elem_classes="camelid-file",
                show_label=False,
            )
            form.add_fields("input")
            with gr.Accordion(t("predict.mapping"), open=False, visible=False, elem_id="predict-mapping") as mapping:
                with gr.Row(elem_classes="camelid-fields"):
                    roles = {role: _role(role) for role in ROLES}
                form.add_fields("columns", "reference")
            form.add_fields("model", "also")
            with gr.Row(elem_classes="camelid-actions"):
                start = gr.Button(t("predict.start"), variant="primary", interactive=False, elem_id="predict-start")
            notice = panel(elem_id="predict-notice")
            form.add_drawer(without=_HIDDEN_FIELDS)
            form.show_needed_fields(**LATEST)
        with gr.Column(scale=6, min_width=300, elem_classes="camelid-card"):
            panel(t("predict.preview"), elem_classes="camelid-cardname")
            preview = panel(elem_id="predict-preview")
    command = panel(elem_id="predict-command")
    shown = build_job(job, "predict-job")
    with gr.Column(visible=False, elem_classes="camelid-card") as rows:
        showing = gr.Radio(
            [(t(f"predict.show.{name}"), name) for name in ROW_VIEWS],
            value="all", label=t("predict.showing"), elem_id="predict-showing",
        )  # fmt: skip
        answers = panel(elem_id="predict-rows")
        with gr.Row(elem_classes="camelid-actions", visible=False) as paging:
            previous = gr.Button(t("data.back"), elem_id="predict-back")
            next_button = gr.Button(t("data.next"), elem_id="predict-next")
            where = panel(elem_id="predict-where")
    panel(t("predict.done"), elem_classes="camelid-heading")
    tab = PredictTab(
        form=form, panel=shown, file=file, preview=preview, command=command, start=start, notice=notice,
        list=selectable(elem_id="predict-list"),
        mapping=mapping, roles=roles, rows=rows, showing=showing, answers=answers,
        first=gr.State(0), paging=paging, where=where, previous=previous, next=next_button,
    )  # fmt: skip
    _wire(tab, services)
    _wire_mapping(tab, services)
    _wire_rows(tab, services)
    return tab


def _wire(tab: PredictTab, services: Services) -> None:
    form = tab.form
    unmapped = (gr.skip(), *[gr.skip()] * len(ROLES))

    def keep_upload(upload: str | None) -> Any:
        return str(services.predictions.keep_upload(upload)) if upload else gr.skip()

    def check(request: gr.Request, *values: Any) -> tuple[Any, ...]:
        say = translator_for(request)
        given = dict(zip(form.widgets, values, strict=True))
        if not given["input"]:
            return (
                empty(say("predict.none"), say("predict.none_hint")),
                "",
                gr.update(interactive=False),
                *unmapped,
                *form.mark_errors(None, ["input"])[1],
            )
        try:
            config = form.config(values)
            found = services.predictions.preview(
                config.input, config.model, config.template, config.columns, config.reference, config.limit,
                suffixes=config.suffixes, prefill=config.prefill, continue_answers=config.continue_answers,
            )  # fmt: skip
        except InvalidFields as problem:
            return "", "", gr.update(interactive=False), *unmapped, *form.mark_errors(problem)[1]
        except CamelidError as problem:
            return error_message(problem), "", gr.update(interactive=False), *unmapped, *form.mark_errors(None)[1]
        line = code(services.predictions.command(config), say("train.command"), say("copy"))
        shown = (view.preview(found, say), "" if found.problem else line, gr.update(interactive=not found.problem))
        columns = list(found.columns)
        offered = [gr.update(choices=columns)] * len(ROLES)
        mapping = gr.update(visible=bool(columns), **({"open": True} if found.problem else {}))
        return *shown, mapping, *offered, *_unmarked(form, columns)

    def start_job(*values: Any) -> tuple[Any, ...]:
        try:
            job = services.predictions.start(form.config(values))
        except InvalidFields as problem:
            return gr.skip(), error(str(problem)), *form.mark_errors(problem)[1]
        except CamelidError as problem:
            return gr.skip(), error_message(problem), *form.mark_errors(None)[1]
        return str(job.id), "", *form.mark_errors(None)[1]

    def listed(chosen: str, request: gr.Request) -> str:
        say = translator_for(request)
        views = services.predictions.all()
        return jobs_view.table(views, say, chosen) if views else empty(say("predict.no_jobs"))

    tab.file.upload(keep_upload, tab.file, form.widgets["input"], **PRIVATE)
    outputs = [tab.preview, tab.command, tab.start, tab.mapping, *tab.roles.values(), *form.inputs]
    gr.on([widget.change for widget in form.inputs], check, form.inputs, outputs, **LATEST)
    tab.start.click(start_job, form.inputs, [tab.panel.job, tab.notice, *form.inputs], **PRIVATE)
    tab.panel.wire(services, _answers)
    tab.list.select(None, None, tab.panel.job, js=SELECTED_KEY, **PRIVATE)
    gr.on([tab.panel.job.change, tab.panel.state_changed.change], listed, tab.panel.job, tab.list, **PRIVATE)


def _wire_mapping(tab: PredictTab, services: Services) -> None:
    """The roles make the column mapping; another input has other columns."""
    form = tab.form

    def mapped(*values: str | None) -> str:
        return str(Columns(**{role: name for role, name in zip(ROLES, values, strict=True) if name}))

    def reset_mapping() -> tuple[Any, ...]:
        """Columns of another file."""
        return (*[None] * len(ROLES), "", "")

    roles = list(tab.roles.values())
    gr.on([role.input for role in roles], mapped, roles, form.widgets["columns"], **LATEST)
    current_input = gr.State("")  # a textbox fires `change` even when nothing changed
    form.widgets["input"].change(lambda path: path, form.widgets["input"], current_input, **PRIVATE)
    current_input.change(reset_mapping, None, [*roles, form.widgets["columns"], form.widgets["reference"]], **PRIVATE)
    form.widgets["also"].focus(
        lambda: gr.update(choices=services.models.names()), None, form.widgets["also"], **PRIVATE
    )


def _wire_rows(tab: PredictTab, services: Services) -> None:
    """A page of the chosen job's rows, updated while the job runs."""

    def shown(number: str, showing: RowSelection, start: int, request: gr.Request) -> tuple[Any, ...]:
        unchanged = [gr.skip()] * 4
        if not number.isdecimal():
            return gr.update(visible=False), "", *unchanged
        try:
            found = services.predictions.page(int(number), showing, start)
        except CamelidError as problem:
            return gr.update(visible=True), error_message(problem), *unchanged
        say, last = translator_for(request), found.start + len(found.rows)
        return (
            gr.update(visible=bool(found.count)),
            view.answers(found, say),
            gr.update(visible=found.matching > PAGE_ROWS),
            note(say("data.where", first=count(start + 1), last=count(last), total=count(found.matching))),
            gr.update(interactive=start > 0),
            gr.update(interactive=start + PAGE_ROWS < found.matching),
        )

    inputs = [tab.panel.job, tab.showing, tab.first]
    outputs = [tab.rows, tab.answers, tab.paging, tab.where, tab.previous, tab.next]
    changes = [tab.panel.timer.tick, tab.panel.state_changed.change, tab.first.change]
    gr.on(changes, shown, inputs, outputs, **LATEST)
    gr.on([tab.panel.job.change, tab.showing.change], lambda: 0, None, tab.first, **PRIVATE).then(
        shown, inputs, outputs, **LATEST
    )
    for button, step in ((tab.previous, -PAGE_ROWS), (tab.next, PAGE_ROWS)):
        button.click(lambda start, step=step: max(0, start + step), tab.first, tab.first, **EACH)


def _answers(services: Services, job: JobView, say: Translator) -> str:
    if job.job.task != "predict":
        return ""
    return view.summary(services.predictions.summary(job.job.id), job.job.id, say)


def _role(role: str) -> gr.Dropdown:
    return gr.Dropdown([], value=None, label=t(f"role_of.{role}"), elem_id=f"predict-role-{role}", min_width=140)


def _unmarked(form: ConfigForm[PredictConfig], columns: list[str]) -> list[Any]:
    """Updates without errors, with these columns as choices for the reference."""
    updates = dict(zip(form.widgets, form.mark_errors(None, list(form.widgets))[1], strict=True))
    updates["reference"] = gr.update(choices=["", *columns])
    return list(updates.values())
