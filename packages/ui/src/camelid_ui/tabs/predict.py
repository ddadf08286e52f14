"""The Batch predict page: a file, its first rows as the model will see them, and answers as they come.

Knows its components. What they do is `services.predictions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError
from camelid_serve.config import PredictConfig

from camelid_ui.fields import Invalid
from camelid_ui.forms import Form
from camelid_ui.services import Services
from camelid_ui.services.jobs import JobView
from camelid_ui.text import Voice, t, voice_of
from camelid_ui.views import code, empty, error
from camelid_ui.views import jobs as jobs_view
from camelid_ui.views import predict as view

from . import PRIVATE
from .job import JobPanel, build_job
from .parts import address, chooser, key_of, message, panel

_NOT_HERE = ("output",)


@dataclass(frozen=True)
class PredictTab:
    form: Form[PredictConfig]
    panel: JobPanel
    file: gr.File
    preview: gr.HTML
    command: gr.HTML
    start: gr.Button
    said: gr.HTML
    list: gr.HTML

    @property
    def model(self) -> Any:
        return self.form.widgets["model"]


def build(services: Services) -> PredictTab:
    job = address("predict")
    form = Form(
        PredictConfig,
        "predict",
        {
            "model": services.models.names,
            "template": lambda: [(t("data.own_template"), ""), *services.models.templates()],
            "engine": lambda: services.host.registry("camelid_engines").names(),
        },
    )
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            file = gr.File(
                label=t("predict.file"),
                file_types=[".json", ".jsonl"],
                height=120,
                elem_id="predict-file",
                elem_classes="camelid-file",
                show_label=False,
            )
            form.place("input", "model")
            with gr.Row(elem_classes="camelid-actions"):
                start = gr.Button(t("predict.start"), variant="primary", interactive=False, elem_id="predict-start")
            said = panel(elem_id="predict-said")
            form.drawer(without=_NOT_HERE)
        with gr.Column(scale=6, min_width=300, elem_classes="camelid-card"):
            panel(t("predict.preview"), elem_classes="camelid-cardname")
            preview = panel(elem_id="predict-preview")
    command = panel(elem_id="predict-command")
    shown = build_job(job, "predict-job")
    panel(t("predict.done"), elem_classes="camelid-heading")
    tab = PredictTab(form, shown, file, preview, command, start, said, chooser(elem_id="predict-list"))
    _wire(tab, services)
    return tab


def _wire(tab: PredictTab, services: Services) -> None:
    form = tab.form

    def keep(upload: str | None) -> Any:
        return str(services.predictions.keep(upload)) if upload else gr.skip()

    def check(request: gr.Request, *values: Any) -> tuple[Any, ...]:
        say = voice_of(request)
        given = dict(zip(form.widgets, values, strict=True))
        if not given["input"]:
            return (
                empty(say("predict.none"), say("predict.none_hint")),
                "",
                gr.update(interactive=False),
                *form.mark(None, ["input"])[1],
            )
        try:
            config = form.config(values)
            found = services.predictions.preview(config.input, config.model, config.template)
        except Invalid as problem:
            return "", "", gr.update(interactive=False), *form.mark(problem)[1]
        except CamelidError as problem:
            return message(problem), "", gr.update(interactive=False), *form.mark(None)[1]
        line = code(services.predictions.command(config), say("train.command"), say("copy"))
        return view.preview(found, say), line, gr.update(interactive=True), *form.mark(None, list(form.widgets))[1]

    def begin(*values: Any) -> tuple[Any, ...]:
        try:
            job = services.predictions.start(form.config(values))
        except Invalid as problem:
            return gr.skip(), error(str(problem)), *form.mark(problem)[1]
        except CamelidError as problem:
            return gr.skip(), message(problem), *form.mark(None)[1]
        return str(job.id), "", *form.mark(None)[1]

    def listed(chosen: str, request: gr.Request) -> str:
        say = voice_of(request)
        views = services.predictions.all()
        return jobs_view.table(views, say, chosen) if views else empty(say("predict.no_jobs"))

    tab.file.upload(keep, tab.file, form.widgets["input"], **PRIVATE)
    outputs = [tab.preview, tab.command, tab.start, *form.inputs]
    gr.on([widget.change for widget in form.inputs], check, form.inputs, outputs, trigger_mode="always_last", **PRIVATE)
    tab.start.click(begin, form.inputs, [tab.panel.job, tab.said, *form.inputs], **PRIVATE)
    tab.panel.wire(services, _answers)
    tab.list.select(key_of, None, tab.panel.job, **PRIVATE)
    gr.on([tab.panel.job.change, tab.panel.ended.change], listed, tab.panel.job, tab.list, **PRIVATE)


def _answers(services: Services, job: JobView, say: Voice) -> str:
    if job.job.task != "predict":
        return ""
    return view.answers(services.predictions.answers(job.job.id), job.job.id, say)
