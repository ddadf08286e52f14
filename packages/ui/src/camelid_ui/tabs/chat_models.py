"""Which models answer on the Chat page: choosing, loading, and saying what is resident.

Knows the pickers and what is said of loading. Whatever is resident is resident for every page, and any page may
load another: each looks now and then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError

from camelid_ui.services import Services
from camelid_ui.services.chat import ChatStatus
from camelid_ui.text import Translator, t, translator_for
from camelid_ui.views import error, esc, note, state
from camelid_ui.views.numbers import duration

from . import LATEST, PRIVATE
from .components import address, hidden_box, message, panel

_LOADING_SECONDS, _SECONDS = 0.7, 4.0


@dataclass(frozen=True)
class ModelPicker:
    """`chosen` is the resident model's name as this page knows it, in the address; `seen` is what was resident when
    the page last looked."""

    model: gr.Dropdown
    load: gr.Button
    compare: gr.Checkbox
    beside: gr.Dropdown
    status: gr.HTML
    chosen: gr.Textbox
    seen: gr.Textbox
    timer: gr.Timer

    @property
    def shown(self) -> list[Any]:
        """What says which models are there; see `status_of`."""
        return [self.status, self.seen, self.chosen, self.timer, self.load, self.compare, self.beside]


def build(services: Services) -> ModelPicker:
    chosen = address("model")
    models = services.models.grouped()
    with gr.Row(elem_classes="camelid-bar-top", equal_height=False):
        model = gr.Dropdown(
            models, value=None, label=t("chat.model"), allow_custom_value=True, scale=4, min_width=200,
            elem_id="chat-model",
        )  # fmt: skip
        load = gr.Button(t("chat.load"), scale=0, min_width=96, elem_id="chat-load", elem_classes="camelid-load")
        compare = gr.Checkbox(
            label=t("chat.compare"), info=t("chat.compare_help"), interactive=False, scale=2, min_width=180,
            elem_id="chat-compare",
        )  # fmt: skip
        beside = gr.Dropdown(
            models, value=None, label=t("chat.beside"), allow_custom_value=True, visible=False, scale=4, min_width=200,
            elem_id="chat-beside",
        )  # fmt: skip
    return ModelPicker(
        model, load, compare, beside, panel(elem_id="chat-status"), chosen, hidden_box("chat-seen"),
        gr.Timer(_SECONDS, active=False),
    )  # fmt: skip


def wire(services: Services, ui: ModelPicker, ask: gr.Textbox) -> None:
    """`ask` can be written in while a model is there."""

    def load(name: str, compare: bool, beside: str | None, request: gr.Request) -> tuple[Any, ...]:
        try:
            services.chat.load(name or "", (beside or "") if compare else "")
        except CamelidError as problem:
            return message(problem), *[gr.skip()] * (len(outputs) - 1)
        return status_of(services, translator_for(request))

    def bring(chosen: str, beside: str | None, request: gr.Request) -> tuple[Any, ...]:
        """The other one is loaded once it is chosen, if the first one is there: the one that this page shows."""
        now = services.chat.status
        if not beside or now.state != "ready" or now.model != chosen or beside in now.names[1:]:
            return (gr.skip(),) * len(outputs)
        return load(now.model, True, beside, request)

    def look(seen: str, request: gr.Request) -> tuple[Any, ...]:
        """All is left as it is while nothing has changed: an update would close a list that is open."""
        now = services.chat.status
        if _key(now) == seen:
            said = _status(now, translator_for(request)) if now.state == "loading" else gr.skip()
            return said, *[gr.skip()] * (len(outputs) - 1)
        return status_of(services, translator_for(request))

    outputs = [*ui.shown, ask]
    ui.load.click(load, [ui.model, ui.compare, ui.beside], outputs, **PRIVATE)
    ui.beside.input(bring, [ui.chosen, ui.beside], outputs, **LATEST)
    ui.timer.tick(look, ui.seen, outputs, **PRIVATE)


def wire_names(services: Services, ui: ModelPicker, left: gr.Column, names: tuple[gr.HTML, gr.HTML]) -> None:
    """Heads of both panels: who answers there."""

    def head(compare: bool, chosen: str, beside: str | None) -> tuple[Any, ...]:
        now = services.chat.status
        other = beside or now.base
        shown = (esc(other), esc(chosen or now.model)) if compare else ("", "")
        offered = {"choices": services.models.grouped()} if compare else {}  # some were made since the pages began
        return gr.update(visible=compare), gr.update(visible=compare, **offered), *shown

    changes = [ui.compare.change, ui.chosen.change, ui.beside.change]
    gr.on(changes, head, [ui.compare, ui.chosen, ui.beside], [left, ui.beside, *names], **PRIVATE)


def status_of(services: Services, say: Translator) -> tuple[Any, ...]:
    """Updates for `ModelPicker.shown` and for the box that asks: what is resident, and what can be done with it."""
    now = services.chat.status
    busy, ready = now.state == "loading", now.state == "ready"
    beside = {"value": now.compare_with or now.base or None} if ready else {}
    return (
        _status(now, say),
        _key(now),
        now.model if ready else gr.skip(),
        gr.Timer(value=_LOADING_SECONDS if busy else _SECONDS, active=True),
        gr.update(interactive=not busy),
        gr.update(interactive=ready),
        gr.update(interactive=not busy, **beside),
        gr.update(interactive=ready),
    )


def _key(now: ChatStatus) -> str:
    return "|".join((now.state, now.model, *now.names, now.error))


def _status(now: ChatStatus, say: Translator) -> str:
    names = " + ".join(name for name in (now.model, now.compare_with) if name)
    if now.state == "empty":
        return note(say("chat.no_model"))
    if now.state == "failed":
        return error(say("chat.failed", model=now.model, error=now.error))
    if now.state == "loading":
        return state("running", say("chat.loading", model=names, step=now.step, seconds=duration(now.seconds)))
    ready = state("succeeded", say("chat.ready", model=names, seconds=duration(now.seconds)))
    return ready + error(say("chat.beside_failed", error=now.error) if now.error else "")
