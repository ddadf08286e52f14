"""Data quality checks of the chosen dataset: lint findings, an action for each, and a new version of the dataset.

Knows its components and handlers. What they do is `services.data.lints`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.datasets import library
from camelid_core.errors import CamelidError

from camelid_ui.i18n import Translator, t, translator_for
from camelid_ui.services import Services
from camelid_ui.tabs import EACH, PRIVATE
from camelid_ui.tabs.components import controls, error_message, field_values_of, panel, progress_of
from camelid_ui.views.data import lints as view

WAIT = 1.0
_TO_ROW = "() => document.getElementById('data-rows')?.scrollIntoView({block: 'start', behavior: 'smooth'})"

_ROW = "row => camelid.selectedKey.startsWith('row:') ? camelid.selectedKey.slice(4) : row"


@dataclass(frozen=True)
class LintsPanel:
    """`actions` says for each lint whether its rows are dropped or fixed."""

    findings: gr.HTML
    actions: gr.State
    against: gr.Dropdown
    all: gr.Button
    busy: gr.HTML
    plan: gr.HTML
    name: gr.Textbox
    write: gr.Button
    notice: gr.HTML
    timer: gr.Timer

    @property
    def shown(self) -> list[Any]:
        return [
            self.findings, self.all, self.busy, self.plan, self.name, self.write, self.notice, self.timer, self.actions
        ]  # fmt: skip


def build() -> LintsPanel:
    panel(t("lints.title"), elem_classes="camelid-heading")
    findings = controls(elem_id="data-lints")
    with gr.Row(elem_classes="camelid-actions"):
        against = gr.Dropdown(
            [], value=None, label=t("lints.against"), min_width=180, allow_custom_value=True, elem_id="data-against",
            elem_classes="camelid-inline",
        )  # fmt: skip
        every = gr.Button(t("lints.check_all"), elem_id="data-check-all")
        busy = panel(elem_id="data-checking")
    plan = panel(elem_id="data-lints-plan")
    with gr.Row(elem_classes="camelid-actions"):
        name = gr.Textbox(
            label=t("lints.name"), elem_id="data-version-name", min_width=180, visible=False,
            elem_classes="camelid-inline",
        )  # fmt: skip
        write = gr.Button(t("lints.write"), elem_id="data-write", visible=False)
    notice = panel(elem_id="data-version-notice")
    return LintsPanel(
        findings, gr.State({}), against, every, busy, plan, name, write, notice, gr.Timer(1.0, active=False)
    )


def show(services: Services, name: str, actions: dict[str, str], say: Translator) -> tuple[Any, ...]:
    """Updates for `shown`."""
    hidden = gr.update(visible=False)
    checks = services.data.lints
    try:
        if services.data.collection.show(name).availability == "fetch":
            return "", hidden, "", "", hidden, hidden, "", gr.Timer(active=False), {}
        checked, work, writing = checks.known(name), checks.checking(name), checks.writing(name)
    except CamelidError as problem:
        return error_message(problem), hidden, "", "", hidden, hidden, "", gr.Timer(active=False), {}
    running = [each for each in (work, writing) if each is not None and each.running]
    return (
        view.findings(checked, actions, say),
        gr.update(
            visible=not (checked.exact and checked.thorough),
            interactive=work is None or not work.running,
            value=say("lints.check_near" if checked.exact else "lints.check_all"),
        ),
        progress_of(work, say) if work is not None else "",
        *planned(services, name, actions, say),
        _written(writing, say),
        gr.Timer(active=bool(running)),
        actions,
    )


def planned(services: Services, name: str, actions: dict[str, str], say: Translator) -> tuple[Any, Any, Any]:
    """The plan, the new version's name, and the button: the latter two only where there is anything to do."""
    checked = services.data.lints.known(name)
    if not checked.problems:
        return "", gr.update(visible=False), gr.update(visible=False)
    fresh = library.next_version_name(name)
    return (
        view.plan(checked, actions, fresh, say),
        gr.update(visible=True, placeholder=fresh),
        gr.update(visible=True, interactive=bool(actions)),
    )


def _written(work: Any, say: Translator) -> str:
    if work is None:
        return ""
    return view.written(work.result, say) if work.state == "done" else progress_of(work, say)


def wire(
    widgets: LintsPanel,
    chosen: gr.State,
    rows_changed: list[Any],
    row: gr.Textbox,
    version: gr.State,
    services: Services,
) -> None:
    """`rows_changed` are the events after which other rows are shown; `version` gets a new version's name
    once it is written."""

    def dataset_changed(name: str, request: gr.Request) -> tuple[Any, ...]:
        return show(services, name, {}, translator_for(request))

    def action_changed(name: str, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        actions = {lint: action for lint, action in field_values_of(event).items() if action}
        return actions, *planned(services, name, actions, translator_for(request))

    def evaluation_set_changed(name: str, against: str | None, request: gr.Request) -> Any:
        return _check_button(services, name, against or "", translator_for(request))

    def check(name: str, actions: dict[str, str], against: str | None, request: gr.Request) -> tuple[Any, ...]:
        try:
            services.data.lints.check(name, against or "").wait(WAIT)
        except CamelidError as problem:
            return (gr.skip(), gr.skip(), error_message(problem), *[gr.skip()] * 6)
        return show(services, name, actions, translator_for(request))

    def write(name: str, actions: dict[str, str], called: str, request: gr.Request) -> tuple[Any, ...]:
        skipped = [gr.skip()] * 6
        try:
            work = services.data.lints.write(name, actions, called).wait(WAIT)
        except CamelidError as problem:
            return *skipped, error_message(problem), gr.skip(), gr.skip(), gr.skip()
        made = work.result.entry.name if work.state == "done" else gr.skip()
        return *skipped, _written(work, translator_for(request)), gr.Timer(active=work.running), gr.skip(), made

    def watch(name: str, actions: dict[str, str], request: gr.Request) -> tuple[Any, ...]:
        """While anything runs only progress changes."""
        checks, say = services.data.lints, translator_for(request)
        work, writing = checks.checking(name), checks.writing(name)
        if (work is not None and work.running) or (writing is not None and writing.running):
            busy = progress_of(work, say) if work is not None else ""
            return gr.skip(), gr.skip(), busy, *[gr.skip()] * 3, _written(writing, say), gr.skip(), gr.skip(), gr.skip()
        made = writing.result.entry.name if writing is not None and writing.state == "done" else gr.skip()
        return *show(services, name, actions, say), made

    inputs = [chosen, widgets.actions]
    gr.on(rows_changed, dataset_changed, chosen, widgets.shown, **PRIVATE)
    widgets.findings.input(action_changed, chosen, [widgets.actions, widgets.plan, widgets.name, widgets.write], **EACH)
    widgets.findings.select(None, row, row, js=_ROW, **PRIVATE).then(None, None, None, js=_TO_ROW, **PRIVATE)
    widgets.against.focus(
        lambda: gr.update(choices=services.data.collection.sources()), None, widgets.against, **PRIVATE
    )
    widgets.against.change(evaluation_set_changed, [chosen, widgets.against], widgets.all, **PRIVATE)
    widgets.all.click(check, [*inputs, widgets.against], widgets.shown, **PRIVATE)
    widgets.write.click(write, [*inputs, widgets.name], [*widgets.shown, version], **PRIVATE)
    widgets.timer.tick(watch, inputs, [*widgets.shown, version], **PRIVATE)


def _check_button(services: Services, name: str, against: str, say: Translator) -> Any:
    """The button: with another evaluation set there is a check that was not made yet."""
    try:
        checked = services.data.lints.known(name)
    except CamelidError:
        return gr.skip()  # reported where the findings would be
    if against and against != checked.against:
        return gr.update(visible=True, value=say("lints.check_all"))
    return gr.update(visible=not (checked.exact and checked.thorough))
