"""The models that answer on the Chat page: choosing, loading, and the status of the loaded ones.

Knows the pickers and the loading status. A loaded model is loaded for every page, and any page may load
another: each polls the status. The model that a page has chosen answers there; a message loads it where it is not.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError

from camelid_ui.i18n import Translator, t, translator_for
from camelid_ui.services import Services
from camelid_ui.services.chat import ChatStatus
from camelid_ui.views import error, esc, note, progress, state
from camelid_ui.views.numbers import duration

from . import LATEST, PRIVATE
from .components import error_message, hidden_box, panel

_LOADING_POLL_SECONDS, _POLL_SECONDS = 0.7, 4.0


@dataclass(frozen=True)
class ModelPicker:
    """`seen` is the status when the page last polled."""

    model: gr.Dropdown
    load: gr.Button
    compare: gr.Checkbox
    other_model: gr.Dropdown
    status: gr.HTML
    seen: gr.Textbox
    timer: gr.Timer

    @property
    def shown(self) -> list[Any]:
        """The widgets that show which models are loaded; see `status_of`."""
        return [self.status, self.seen, self.timer, self.load, self.compare, self.other_model]


def build(services: Services) -> ModelPicker:
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
        other_model = gr.Dropdown(
            models, value=None, label=t("chat.other_model"), allow_custom_value=True, visible=False, scale=4,
            min_width=200,
            elem_id="chat-other-model",
        )  # fmt: skip
    return ModelPicker(
        model, load, compare, other_model, panel(elem_id="chat-status"), hidden_box("chat-seen"),
        gr.Timer(_POLL_SECONDS, active=False),
    )  # fmt: skip


def wire(services: Services, ui: ModelPicker) -> None:
    def load(name: str, compare: bool, other_model: str | None, request: gr.Request) -> tuple[Any, ...]:
        try:
            services.chat.load(name or "", (other_model or "") if compare else "")
        except CamelidError as problem:
            return error_message(problem), *[gr.skip()] * (len(outputs) - 1)
        return status_of(services, translator_for(request))

    def load_other(model: str, other_model: str | None, request: gr.Request) -> tuple[Any, ...]:
        """The other model is loaded once it is chosen, if the first one is loaded."""
        status = services.chat.status
        if not other_model or status.state != "ready" or status.model != model or other_model in status.names[1:]:
            return (gr.skip(),) * len(outputs)
        return load(model, True, other_model, request)

    def poll(seen: str, request: gr.Request) -> tuple[Any, ...]:
        """No updates while nothing has changed: an update would close an open list."""
        status = services.chat.status
        if _status_key(status) == seen:
            loading = _status(status, translator_for(request)) if status.state == "loading" else gr.skip()
            return loading, *[gr.skip()] * (len(outputs) - 1)
        return status_of(services, translator_for(request))

    outputs = ui.shown
    ui.load.click(load, [ui.model, ui.compare, ui.other_model], outputs, **PRIVATE)
    ui.other_model.input(load_other, [ui.model, ui.other_model], outputs, **LATEST)
    ui.timer.tick(poll, ui.seen, outputs, **PRIVATE)


def wire_names(services: Services, ui: ModelPicker, left: gr.Column, names: tuple[gr.HTML, gr.HTML]) -> None:
    """The names above both columns: which model answers there."""

    def head(compare: bool, model: str | None, other_model: str | None) -> tuple[Any, ...]:
        if not compare:
            return gr.update(visible=False), gr.update(visible=False), "", ""
        base = "" if other_model else base_of(services, model)
        value = {"value": base} if base else {}
        offered = gr.update(visible=True, choices=services.models.grouped(), **value)  # there may be new ones
        return gr.update(visible=True), offered, esc(other_model or base), esc(model or "")

    changes = [ui.compare.change, ui.model.change, ui.other_model.change]
    gr.on(changes, head, [ui.compare, ui.model, ui.other_model], [left, ui.other_model, *names], **LATEST)


def status_of(services: Services, say: Translator) -> tuple[Any, ...]:
    """Updates for `ModelPicker.shown`: what is loaded, and which buttons work."""
    status = services.chat.status
    busy = status.state == "loading"
    return (
        _status(status, say),
        _status_key(status),
        poll_timer(busy),
        gr.update(interactive=not busy),
        gr.update(interactive=True),
        gr.update(interactive=not busy),
    )


def poll_timer(loading: bool) -> gr.Timer:
    """Update for the timer: how often a page looks for the status."""
    return gr.Timer(value=_LOADING_POLL_SECONDS if loading else _POLL_SECONDS, active=True)


def base_of(services: Services, model: str | None) -> str:
    """The base of an adapter; empty where there is none, or no such model."""
    with suppress(CamelidError):
        return services.models.base_of(model or "")
    return ""


def _status_key(status: ChatStatus) -> str:
    return "|".join((status.state, status.model, *status.names, status.error))


def _status(status: ChatStatus, say: Translator) -> str:
    names = " + ".join(name for name in (status.model, status.compare_with) if name)
    if status.state == "empty":
        return note(say("chat.no_model"))
    if status.state == "failed":
        return error(say("chat.failed", model=status.model, error=status.error))
    if status.state == "loading":
        now, seconds = status.progress, duration(status.seconds)
        step = say("chat.weights_read") if now.file and now.done == now.total else now.text
        words = " · ".join(filter(None, [say("chat.loading", model=names), step, seconds]))
        return state("running", words) + (progress(now.done, now.total, None, say, now.file) if now.file else "")
    ready = state("succeeded", say("chat.ready", model=names, seconds=duration(status.seconds)))
    return ready + error(say("chat.other_failed", error=status.error) if status.error else "")
