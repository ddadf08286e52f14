"""The Train page: a recipe in three lines, the drawer with the rest, and all runs.

Knows the form and its handlers; the run under way is `run`. What they do is `services.training`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError
from camelid_train.config import Recipe

from camelid_ui.fields import Invalid, default_values, flat
from camelid_ui.forms import Form
from camelid_ui.services import Services
from camelid_ui.text import Voice, t, voice_of
from camelid_ui.views import code, empty, error, note
from camelid_ui.views import jobs as jobs_view
from camelid_ui.views import train as view

from . import PRIVATE
from .parts import address, chooser, key_of, message, panel, with_request
from .run import RunPanel, build_run

_FIRST = ("model.name", "data.sources", "train.epochs")
_NOT_HERE = ("train.output",)


@dataclass(frozen=True)
class TrainTab:
    """`run` is the number of the run that is shown, in the address; empty shows the form."""

    run: gr.Textbox
    form: Form[Recipe]
    new: gr.Column
    name: gr.Textbox
    estimate: gr.HTML
    command: gr.HTML
    said: gr.HTML
    differs: gr.HTML
    wrong: gr.State
    start: gr.Button
    panel: RunPanel
    runs: gr.HTML
    opened: gr.HTML


def build(services: Services) -> TrainTab:
    run = address("run")
    form = Form(
        Recipe,
        "train",
        {
            "model.name": services.models.bases,
            "data.sources": services.data.collection.sources,
            "data.template": lambda: [(t("data.own_template"), ""), *services.models.templates()],
            "launch.executor": lambda: services.host.executors.names(),
        },
    )
    with gr.Column() as new:
        with gr.Row(equal_height=False):
            with gr.Column(scale=7, min_width=320):
                form.place("model.name", "data.sources")
                with gr.Row(elem_classes="camelid-knobs"):
                    form.place("train.epochs", "train.max_steps")
                name = gr.Textbox(label=t("train.name"), info=t("train.name_help"), elem_id="train-run-name")
                with gr.Row(elem_classes="camelid-actions"):
                    start = gr.Button(t("train.start"), variant="primary", elem_id="train-start")
                said = panel(elem_id="train-said")
            with gr.Column(scale=4, min_width=260, elem_classes="camelid-card"):
                panel(t("train.estimate"), elem_classes="camelid-cardname")
                estimate = panel(elem_id="train-estimate")
        differs = panel(elem_id="train-differs")
        form.drawer(without=_NOT_HERE)
        command = panel(elem_id="train-command")
    run_panel = build_run()
    opened = panel(t("runs.title"), elem_classes="camelid-heading")
    runs = chooser(elem_id="train-runs")
    tab = TrainTab(run, form, new, name, estimate, command, said, differs, gr.State([]), start, run_panel, runs, opened)
    _wire(tab, services)
    return tab


def _wire(tab: TrainTab, services: Services) -> None:
    form = tab.form

    def check(wrong: list[str], name: str, *values: Any, request: gr.Request) -> tuple[Any, ...]:
        """What the settings would do, or what is wrong with them, at each field."""
        say = voice_of(request)
        try:
            recipe = form.config(values)
            found = services.training.estimate(recipe, services.data)
        except Invalid as problem:
            now, marks = form.mark(problem, wrong)
            return (
                now,
                note(say("train.no_estimate")),
                gr.skip(),
                gr.skip(),
                error(form.other_errors(problem)),
                _start(False),
                *marks,
            )
        except CamelidError as problem:
            now, marks = form.mark(None, wrong)
            return now, message(problem), gr.skip(), gr.skip(), "", _start(True), *marks
        now, marks = form.mark(None, wrong)
        line = code(services.training.command(recipe, (name or "").strip()), say("train.command"), say("copy"))
        return now, view.estimate(found, say), line, _differs(recipe, say), "", _start(True), *marks

    def begin(wrong: list[str], name: str, *values: Any, request: gr.Request) -> tuple[Any, ...]:
        try:
            job = services.training.start(form.config(values), (name or "").strip())
        except Invalid as problem:
            now, marks = form.mark(problem, wrong)
            return gr.skip(), error(str(problem)), now, *marks
        except CamelidError as problem:
            return gr.skip(), message(problem), wrong, *form.mark(None)[1]
        return str(job.id), "", [], *form.mark(None, wrong)[1]

    def listed(run: str, request: gr.Request) -> str:
        return _runs(services, run, voice_of(request))

    def again(run: str) -> tuple[Any, ...]:
        """The form with a run's settings."""
        if not run.isdecimal():
            return ("", *[gr.skip()] * len(form.inputs))
        return ("", *form.fill(services.training.recipe_of(int(run))))

    inputs = [tab.wrong, tab.name, *form.inputs]
    checked = [tab.wrong, tab.estimate, tab.command, tab.differs, tab.said, tab.start, *form.inputs]
    changes = [widget.change for widget in [*form.inputs, tab.name]]
    gr.on(changes, with_request(check), inputs, checked, trigger_mode="always_last", **PRIVATE)
    tab.start.click(with_request(begin), inputs, [tab.run, tab.said, tab.wrong, *form.inputs], **PRIVATE)
    tab.runs.select(key_of, None, tab.run, **PRIVATE)
    tab.panel.wire(tab.run, tab.new, services)
    tab.run.change(listed, tab.run, tab.runs, **PRIVATE)
    tab.panel.ended.change(listed, tab.run, tab.runs, **PRIVATE)
    tab.panel.again.click(again, tab.run, [tab.run, *form.inputs], **PRIVATE)


def _runs(services: Services, run: str, say: Voice) -> str:
    found = services.training.all(20)
    return jobs_view.runs(found, say, run) if found else empty(say("runs.none"), say("runs.none_hint"))


def _start(can: bool) -> Any:
    return gr.update(interactive=can)


def _differs(recipe: Recipe, say: Voice) -> str:
    defaults = default_values(Recipe)
    changed = [path for path, value in flat(recipe).items() if path in defaults and value != defaults[path]]
    return note(say("form.differs", fields=", ".join(changed)) if changed else say("form.same"))
