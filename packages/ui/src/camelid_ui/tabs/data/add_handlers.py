"""Handlers of the panel for adding data: detect a file's format, preview it, add it, and watch the progress.

Knows handlers. The components are in `add`; what is done is `services.data.add`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError
from camelid_core.readers import Detection

from camelid_ui.i18n import Translator, translator_for
from camelid_ui.services import Services
from camelid_ui.services.background_work import BackgroundWork
from camelid_ui.services.data.add import MAPPED, AddService, ImportPlan
from camelid_ui.tabs import LATEST, PRIVATE
from camelid_ui.tabs.components import error_message, progress_of, request_first
from camelid_ui.views import error
from camelid_ui.views.data import add as view

from .add import AddPanel

WAIT = 1.5
"""Seconds that a click waits for short work before the page polls its progress."""


@dataclass(frozen=True)
class _Handlers:
    widgets: AddPanel
    adding: AddService

    def detect(self, seen: str, file: str | None, typed: str, strict: str, request: gr.Request) -> tuple[Any, ...]:
        """Another file: its format, its column mapping, and its first rows. The same file is not read
        twice: what was chosen for it stays."""
        given = file or (typed or "").strip()
        if given == seen:
            return (gr.skip(),) * len(self.widgets.shown)
        kept = [gr.skip()] * len(self.widgets.roles)
        hidden = (gr.update(visible=False), gr.skip(), gr.skip(), "", gr.skip(), *kept)
        if not given:
            return "", "", *hidden
        try:
            path = self.adding.find(given)
            found = self.adding.detect(path)
        except CamelidError as problem:
            return "", error_message(problem), *hidden
        reader, columns = _proposed(found)
        say = translator_for(request)
        first = self.adding.preview(ImportPlan(path, reader, columns, strict == "strict"))
        return (
            given,
            view.detected(path, found, say),
            gr.update(visible=True),
            gr.update(value=reader),
            gr.update(visible=reader == MAPPED),
            view.preview(first, strict == "strict", say),
            gr.update(placeholder=self.adding.name_for(path)),
            *(_column(role, found, columns) for role in self.widgets.roles),
        )

    def preview_again(self, *values: Any, request: gr.Request) -> tuple[Any, Any]:
        """Reader, columns or strictness changed: the first rows, read that way."""
        try:
            plan = self._plan(*values)
        except CamelidError:
            return gr.skip(), gr.skip()  # reported where the file is named
        shown = view.preview(self.adding.preview(plan), plan.strict, translator_for(request))
        return gr.update(visible=plan.reader == MAPPED), shown

    def add(self, name: str, licence: str, *values: Any, request: gr.Request) -> tuple[Any, ...]:
        say = translator_for(request)
        if not (values[0] or (values[1] or "").strip()):
            return self._stopped(error(say("data.add_nothing")))
        try:
            plan = self._plan(*values)
            called = name.strip() or self.adding.name_for(plan.path)
            work = self.adding.start(plan, called, licence).wait(WAIT)
        except CamelidError as problem:
            return self._stopped(error_message(problem))
        return self._progress_or_result(work, called, say)

    def watch(self, name: str, request: gr.Request) -> tuple[Any, ...]:
        work = self.adding.running(name)
        return self._stopped("") if work is None else self._progress_or_result(work, name, translator_for(request))

    def _plan(self, file: str | None, typed: str, reader: str | None, strict: str, *columns: str | None) -> ImportPlan:
        chosen = {role: column or "" for role, column in zip(self.widgets.roles, columns, strict=True)}
        return ImportPlan(self.adding.find(file or typed or ""), reader or "", chosen, strict == "strict")

    def _stopped(self, why: str) -> tuple[Any, ...]:
        return why, "", gr.Timer(active=False), *[gr.skip()] * 6

    def _progress_or_result(self, work: BackgroundWork, name: str, say: Translator) -> tuple[Any, ...]:
        """The progress; once it is done, the dataset itself, and the panel is empty again."""
        if work.state != "done":
            return progress_of(work, say), name, gr.Timer(active=work.running), *[gr.skip()] * 6
        return "", "", gr.Timer(active=False), view.added(work.result, say), name, "", None, "", ""


def wire(widgets: AddPanel, chosen: gr.Textbox, open_panel: gr.Textbox, notice: gr.HTML, services: Services) -> None:
    """Once a dataset was added it is chosen, `open_panel` shows it, and `notice` says how it went."""
    do = _Handlers(widgets, services.data.add)
    given = [widgets.file.change, widgets.path.submit, widgets.path.blur]
    look_inputs = [widgets.seen, widgets.file, widgets.path, widgets.strict]
    gr.on(given, do.detect, look_inputs, widgets.shown, **LATEST)
    changes = [widgets.reader.input, widgets.strict.input, *(role.input for role in widgets.roles.values())]
    preview = request_first(do.preview_again)
    gr.on(changes, preview, widgets.how, [widgets.mapping, widgets.preview], **LATEST)
    outputs = [
        widgets.notice, widgets.working, widgets.timer, notice, chosen, open_panel, widgets.file, widgets.path,
        widgets.name,
    ]  # fmt: skip
    widgets.add.click(request_first(do.add), [widgets.name, widgets.licence, *widgets.how], outputs, **PRIVATE)
    widgets.timer.tick(do.watch, widgets.working, outputs, **PRIVATE)


def _proposed(found: Detection) -> tuple[str, dict[str, str]]:
    """The reader to begin with, and the mapping it needs."""
    if found.fits or found.proposed is None:
        return "", {}
    return MAPPED, found.proposed.used()


def _column(role: str, found: Detection, columns: dict[str, str]) -> Any:
    return gr.update(choices=[("–", ""), *found.columns], value=columns.get(role, ""))
