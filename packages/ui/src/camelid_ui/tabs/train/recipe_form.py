"""The recipe form: model, datasets and method as cards, the estimate, the drawer with all other settings, the command.

Knows the form and its handlers. They call `services.training`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError
from camelid_train.config import Recipe

from camelid_ui.config_fields import config_fields
from camelid_ui.config_form import ConfigForm
from camelid_ui.field_values import InvalidFields, non_default
from camelid_ui.i18n import Translator, t, translator_for
from camelid_ui.services import Services
from camelid_ui.tabs import LATEST, PRIVATE
from camelid_ui.tabs.components import error_message, panel, request_first
from camelid_ui.views import code, error, note
from camelid_ui.views.train import estimate as view

CARDS = {"model": ("model.name",), "data": ("data.sources",), "method": ("method.type", "objective.type")}
"""What is chosen first, and the fields that choose it; one without a choice is no field."""
_HIDDEN_FIELDS = ("train.output",)


@dataclass(frozen=True)
class RecipeForm:
    """`wrong` are the fields that are marked, `column` is all of it."""

    column: gr.Column
    form: ConfigForm[Recipe]
    cards: tuple[gr.HTML, ...]
    name: gr.Textbox
    start: gr.Button
    notice: gr.HTML
    estimate: gr.HTML
    differs: gr.HTML
    command: gr.HTML
    wrong: gr.State

    def wire(self, services: Services, run: gr.Textbox, state_changed: gr.State) -> None:
        """Validate the settings, and start: the new run's number goes into `run`. `state_changed` changes with the
        state of the shown run."""
        form = self.form

        def check(wrong: list[str], name: str, *values: Any, request: gr.Request) -> tuple[Any, ...]:
            """The estimate for the settings, or an error at each wrong field."""
            say = translator_for(request)
            cards: Sequence[Any] = [gr.skip()] * len(self.cards)
            try:
                recipe = form.config(values)
                cards = _cards(services, recipe, say)
                found = services.training.estimate(recipe, services.data)
            except InvalidFields as problem:
                now, marks = form.mark_errors(problem, wrong)
                other = error(form.other_errors(problem))
                return (
                    now,
                    note(say("train.no_estimate")),
                    gr.skip(),
                    gr.skip(),
                    other,
                    _start_button(False),
                    *cards,
                    *marks,
                )
            except CamelidError as problem:
                now, marks = form.mark_errors(None, wrong)
                return now, error_message(problem), gr.skip(), gr.skip(), "", _start_button(True), *cards, *marks
            now, marks = form.mark_errors(None, wrong)
            line = code(services.training.command(recipe, (name or "").strip()), say("train.command"), say("copy"))
            shown = view.estimate(found, services.jobs.count_running(), say)
            return now, shown, line, _differs(recipe, say), "", _start_button(True), *cards, *marks

        def start(wrong: list[str], name: str, *values: Any, request: gr.Request) -> tuple[Any, ...]:
            try:
                job = services.training.start(form.config(values), (name or "").strip())
            except InvalidFields as problem:
                now, marks = form.mark_errors(problem, wrong)
                return gr.skip(), error(str(problem)), now, *marks
            except CamelidError as problem:
                return gr.skip(), error_message(problem), wrong, *form.mark_errors(None)[1]
            return str(job.id), "", [], *form.mark_errors(None, wrong)[1]

        inputs = [self.wrong, self.name, *form.inputs]
        checked = [self.wrong, self.estimate, self.command, self.differs, self.notice, self.start]
        changes = [widget.change for widget in [*form.inputs, self.name, state_changed]]
        gr.on(changes, request_first(check), inputs, [*checked, *self.cards, *form.inputs],
              **LATEST)  # fmt: skip
        self.start.click(request_first(start), inputs, [run, self.notice, self.wrong, *form.inputs], **PRIVATE)
        form.show_chosen_variant(**PRIVATE)
        form.show_needed_fields(**LATEST)


def build_form(services: Services) -> RecipeForm:
    form = ConfigForm(Recipe, "train", _choices(services))
    with gr.Column(elem_id="train-form") as column:
        with gr.Row(equal_height=False):
            with gr.Column(scale=7, min_width=320):
                cards = tuple(_card(form, name, keys) for name, keys in CARDS.items())
                with gr.Row(elem_classes=["camelid-fields", "camelid-three"]):
                    form.add_fields("train.epochs", "train.max_steps")
                    name = gr.Textbox(label=t("train.name"), info=t("train.name_help"), elem_id="train-run-name",
                                      min_width=200, elem_classes="camelid-field")  # fmt: skip
                with gr.Row(elem_classes="camelid-actions"):
                    start = gr.Button(t("train.start"), variant="primary", elem_id="train-start")
                notice = panel(elem_id="train-notice")
            with gr.Column(scale=4, min_width=260, elem_classes="camelid-card"):
                panel(t("train.estimate"), elem_classes="camelid-cardname")
                estimate = panel(elem_id="train-estimate")
        differs = panel(elem_id="train-differs")
        form.add_drawer(without=_HIDDEN_FIELDS)
        command = panel(elem_id="train-command")
    return RecipeForm(column, form, cards, name, start, notice, estimate, differs, command, gr.State([]))


def _choices(services: Services) -> dict[str, Callable[[], Sequence[Any]]]:
    return {
        "model.name": services.models.bases,
        "data.sources": services.data.collection.sources,
        "data.template": lambda: [(t("data.own_template"), ""), *services.models.templates()],
        "launch.executor": lambda: services.host.executors.names(),
    }


def _card(form: ConfigForm[Recipe], name: str, keys: Sequence[str]) -> gr.HTML:
    """What is chosen, and behind a button the fields to choose something else."""
    ident = f"train-card-{name}"
    present = {config_field.key for config_field in config_fields(Recipe)}
    with gr.Column(elem_id=ident, elem_classes="camelid-choose"):
        with gr.Row(elem_classes="camelid-chosen"):
            shown = panel(elem_id=f"{ident}-shown")
            change = gr.Button(t(f"train.change.{name}"), size="sm", elem_id=f"{ident}-change")
        with gr.Column(elem_classes="camelid-editor"):
            form.add_fields(*(key for key in keys if key in present))
    change.click(None, None, None, js=f"() => camelid.toggle('{ident}')", api_visibility="private")
    return shown


def _cards(services: Services, recipe: Recipe, say: Translator) -> tuple[str, ...]:
    training = services.training
    return (
        view.model_card(training.model_choice(recipe), say),
        view.data_card(training.data_choices(recipe, services.data), say),
        view.method_card(training.section_choices(recipe), say),
    )


def _start_button(can: bool) -> Any:
    return gr.update(interactive=can)


def _differs(recipe: Recipe, say: Translator) -> str:
    changed = list(non_default(recipe))
    return note(say("form.differs", fields=", ".join(changed)) if changed else say("form.same"))
