"""What the room for adding data does: look at a file, read it another way, take it in, and watch that.

Knows handlers. The components are in `adding`; what is done is `services.data.add`.
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
from camelid_ui.tabs.components import message, request_first, working
from camelid_ui.views import error
from camelid_ui.views.data import add as view

from .add import AddPanel

WAIT = 1.5
"""Seconds that a click waits for short work before the page begins to watch it."""


@dataclass(frozen=True)
class _Handlers:
    room: AddPanel
    adding: AddService

    def look(self, seen: str, file: str | None, typed: str, strict: str, request: gr.Request) -> tuple[Any, ...]:
        """A file was given: what it is, how its columns map, and its first rows. The same file is not looked at
        twice: what was chosen for it stays."""
        given = file or (typed or "").strip()
        if given == seen:
            return (gr.skip(),) * len(self.room.shown)
        kept = [gr.skip()] * len(self.room.roles)
        hidden = (gr.update(visible=False), gr.skip(), gr.skip(), "", gr.skip(), *kept)
        if not given:
            return "", "", *hidden
        try:
            path = self.adding.find(given)
            found = self.adding.detect(path)
        except CamelidError as problem:
            return "", message(problem), *hidden
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
            *(_column(role, found, columns) for role in self.room.roles),
        )

    def again(self, *values: Any, request: gr.Request) -> tuple[Any, Any]:
        """Reader, columns or strictness changed: the first rows read that way."""
        try:
            asked = self._plan(*values)
        except CamelidError:
            return gr.skip(), gr.skip()  # said where the file is named
        shown = view.preview(self.adding.preview(asked), asked.strict, translator_for(request))
        return gr.update(visible=asked.reader == MAPPED), shown

    def add(self, name: str, licence: str, *values: Any, request: gr.Request) -> tuple[Any, ...]:
        say = translator_for(request)
        if not (values[0] or (values[1] or "").strip()):
            return self._refused(error(say("data.add_nothing")))
        try:
            asked = self._plan(*values)
            called = name.strip() or self.adding.name_for(asked.path)
            work = self.adding.start(asked, called, licence).wait(WAIT)
        except CamelidError as problem:
            return self._refused(message(problem))
        return self._told(work, called, say)

    def watch(self, name: str, request: gr.Request) -> tuple[Any, ...]:
        work = self.adding.running(name)
        return self._refused("") if work is None else self._told(work, name, translator_for(request))

    def _plan(self, file: str | None, typed: str, reader: str | None, strict: str, *columns: str | None) -> ImportPlan:
        chosen = {role: column or "" for role, column in zip(self.room.roles, columns, strict=True)}
        return ImportPlan(self.adding.find(file or typed or ""), reader or "", chosen, strict == "strict")

    def _refused(self, why: str) -> tuple[Any, ...]:
        return why, "", gr.Timer(active=False), *[gr.skip()] * 6

    def _told(self, work: BackgroundWork, name: str, say: Translator) -> tuple[Any, ...]:
        """How far it is; once it is done, the set itself, and the room is empty again."""
        if work.state != "done":
            return working(work, say), name, gr.Timer(active=work.running), *[gr.skip()] * 6
        return "", "", gr.Timer(active=False), view.added(work.result, say), name, "", None, "", ""


def wire(room: AddPanel, chosen: gr.Textbox, open_room: gr.Textbox, notice: gr.HTML, services: Services) -> None:
    """Once a set was added it is chosen, `open_room` shows it, and `notice` says how it went."""
    do = _Handlers(room, services.data.add)
    given = [room.file.change, room.path.submit, room.path.blur]
    looking = [room.seen, room.file, room.path, room.strict]
    gr.on(given, do.look, looking, room.shown, **LATEST)
    changes = [room.reader.input, room.strict.input, *(role.input for role in room.roles.values())]
    again = request_first(do.again)
    gr.on(changes, again, room.how, [room.mapping, room.preview], **LATEST)
    outputs = [room.notice, room.working, room.timer, notice, chosen, open_room, room.file, room.path, room.name]
    room.add.click(request_first(do.add), [room.name, room.licence, *room.how], outputs, **PRIVATE)
    room.timer.tick(do.watch, room.working, outputs, **PRIVATE)


def _proposed(found: Detection) -> tuple[str, dict[str, str]]:
    """The reader to begin with, and the mapping it needs."""
    if found.fits or found.proposed is None:
        return "", {}
    return MAPPED, found.proposed.used()


def _column(role: str, found: Detection, columns: dict[str, str]) -> Any:
    return gr.update(choices=[("–", ""), *found.columns], value=columns.get(role, ""))
