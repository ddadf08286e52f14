"""The Chat page: one conversation, or two side by side with the same questions and seed.

Knows its components and their handlers. What they do is `services.chat`; how a conversation
goes on is `talking`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError
from camelid_serve.engine import Sampling

from camelid_ui.conversation import Talk
from camelid_ui.forms import Form
from camelid_ui.services import Services
from camelid_ui.services.chat import Status
from camelid_ui.text import Voice, t, voice_of
from camelid_ui.views import error, note, state
from camelid_ui.views.numbers import duration

from . import PRIVATE
from .parts import address, message, panel
from .talking import Talking, wire


@dataclass(frozen=True)
class ChatTab:
    """`chosen` is the resident model's name, in the address; `compared` is what only comparing shows."""

    model: gr.Dropdown
    load: gr.Button
    status: gr.HTML
    compared: tuple[gr.Column, gr.HTML]
    timer: gr.Timer
    chosen: gr.Textbox
    talking: Talking

    @property
    def shown(self) -> list[Any]:
        """What depends on the resident model; `status_of` gives updates for it."""
        return [self.status, self.timer, self.talking.ask, self.talking.send, self.talking.compare]


def build(services: Services) -> ChatTab:
    chosen = address("model")
    with gr.Row(elem_classes="camelid-bar-top", equal_height=False):
        model = gr.Dropdown(
            services.models.names(),
            value=None,
            label=t("chat.model"),
            allow_custom_value=True,
            scale=4,
            min_width=220,
            elem_id="chat-model",
        )
        load = gr.Button(t("chat.load"), scale=0, min_width=96, elem_id="chat-load", elem_classes="camelid-load")
        compare = gr.Checkbox(
            label=t("chat.compare"),
            info=t("chat.compare_help"),
            interactive=False,
            scale=2,
            min_width=200,
            elem_id="chat-compare",
        )
    status = panel(elem_id="chat-status")
    with gr.Row(equal_height=True):
        with gr.Column(visible=False, min_width=260) as base_column:
            panel(t("chat.base"), elem_classes="camelid-cardname")
            base = _chatbot("chat-base", t("chat.base"))
        with gr.Column(min_width=260):
            tuned_name = panel(t("chat.tuned"), elem_classes="camelid-cardname", visible=False)
            tuned = _chatbot("chat-tuned", t("chat.tuned"))
    said = panel(elem_id="chat-said")
    ask = gr.Textbox(
        label=t("chat.ask"), placeholder=t("chat.ask_hint"), lines=1, max_lines=8, interactive=False, elem_id="chat-ask"
    )
    with gr.Row(elem_classes="camelid-actions"):
        send = gr.Button(t("chat.send"), variant="primary", interactive=False, elem_id="chat-send")
        stop = gr.Button(t("chat.stop"), interactive=False, elem_id="chat-stop")
        retry = gr.Button(t("chat.retry"), interactive=False, elem_id="chat-retry")
        clear = gr.Button(t("chat.clear"), elem_id="chat-clear")
    system = gr.Textbox(label=t("chat.system"), info=t("chat.system_help"), lines=1, max_lines=6, elem_id="chat-system")
    form = Form(Sampling, "sampling")
    form.drawer()
    with gr.Accordion(t("chat.exact"), open=False, elem_id="chat-exact") as prompt:
        exact = panel(elem_id="chat-exact-tokens")
    talking = Talking(
        talk=gr.State(Talk()), base=base, tuned=tuned, said=said, send=send, stop=stop, retry=retry, clear=clear,
        ask=ask, compare=compare, system=system, form=form, prompt=prompt, exact=exact,
    )  # fmt: skip
    tab = ChatTab(model, load, status, (base_column, tuned_name), gr.Timer(0.7, active=False), chosen, talking)
    _wire_model(tab, services)
    wire(services, talking)
    return tab


def _chatbot(ident: str, label: Any) -> gr.Chatbot:
    return gr.Chatbot(
        label=label, show_label=False, height=420, layout="bubble", elem_id=ident, elem_classes="camelid-chat",
        buttons=["copy"], feedback_options=None, editable="user", allow_tags=False, placeholder=t("chat.empty"),
    )  # fmt: skip


def _wire_model(tab: ChatTab, services: Services) -> None:
    """Choosing and loading; whatever is resident is resident for every page."""

    def load(name: str, request: gr.Request) -> tuple[Any, ...]:
        try:
            services.chat.load(name or "")
        except CamelidError as problem:
            return message(problem), *[gr.skip()] * 5
        return look(request)

    def look(request: gr.Request) -> tuple[Any, ...]:
        now = services.chat.status
        return *status_of(services, voice_of(request)), now.model if now.state == "ready" else gr.skip()

    outputs = [*tab.shown, tab.chosen]
    tab.load.click(load, tab.model, outputs, **PRIVATE)
    tab.timer.tick(look, None, outputs, **PRIVATE)
    compare = tab.talking.compare
    compare.change(lambda on: (gr.update(visible=on), gr.update(visible=on)), compare, list(tab.compared), **PRIVATE)


def status_of(services: Services, say: Voice) -> tuple[Any, ...]:
    """Updates for `ChatTab.shown`: what is resident, and what can be done with it."""
    now = services.chat.status
    ready = gr.update(interactive=now.state == "ready")
    comparing = gr.update(interactive=True) if now.tuned else gr.update(interactive=False, value=False)
    return _status(now, say), gr.Timer(active=now.state == "loading"), ready, ready, comparing


def _status(now: Status, say: Voice) -> str:
    if now.state == "empty":
        return note(say("chat.no_model"))
    if now.state == "failed":
        return error(say("chat.failed", model=now.model, error=now.error))
    if now.state == "loading":
        return state("running", say("chat.loading", model=now.model, step=now.step, seconds=duration(now.seconds)))
    return state("succeeded", say("chat.ready", model=now.model, seconds=duration(now.seconds)))
