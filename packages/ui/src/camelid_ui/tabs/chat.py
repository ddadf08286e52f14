"""The Chat page: one conversation, or two side by side with the same questions and seed.

Knows how the page is laid out. Who answers is `picking`, how answers come `talking`, what can be done with them
`acting`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import gradio as gr
from camelid_serve.engine import Sampling

from camelid_ui.config_form import ConfigForm
from camelid_ui.conversation_tree import ConversationTree
from camelid_ui.services import Services
from camelid_ui.text import t

from . import chat_actions, chat_history, chat_models, chat_settings
from .chat_models import ModelPicker, status_of
from .chat_stream import ConversationWidgets
from .components import controls, panel

__all__ = ["ChatTab", "build", "status_of"]


@dataclass(frozen=True)
class ChatTab:
    picking: ModelPicker
    talking: ConversationWidgets
    history: chat_history.ChatHistory

    @property
    def model(self) -> gr.Dropdown:
        return self.picking.model

    @property
    def shown(self) -> list[Any]:
        """What depends on the resident model; `status_of` gives updates for it."""
        return [*self.picking.shown, self.talking.ask]


def build(services: Services) -> ChatTab:
    models = chat_models.build(services)
    with gr.Row(elem_classes="camelid-talk", equal_height=False):
        with gr.Column(elem_classes="camelid-spoken", min_width=280):
            parts = _conversation(services, models)
        with gr.Column(elem_classes="camelid-aside", min_width=240):
            system = gr.Textbox(
                label=t("chat.system"), info=t("chat.system_help"), lines=1, max_lines=6, elem_id="chat-system"
            )
            form = ConfigForm(Sampling, "sampling")
            chat_settings.build(services, ask=parts["ask"], system=system, form=form)
            talking = ConversationWidgets(
                services=services, talk=gr.State(ConversationTree()), kept=gr.State(None), rated=gr.State(None), system=system,
                form=form, chosen=models.chosen, seen=models.seen, compare=models.compare, beside=models.beside,
                **parts,
            )  # fmt: skip
            history = chat_history.build(services, talking)
    chat_actions.wire(services, talking)
    chat_models.wire(services, models, talking.ask)
    return ChatTab(models, talking, history)


def _conversation(services: Services, models: ModelPicker) -> dict[str, Any]:
    """What is said, and what says more; by their names in `ConversationWidgets`."""
    with gr.Row(equal_height=True, elem_classes="camelid-sides"):
        with gr.Column(visible=False, min_width=260) as left:
            left_name = panel(elem_classes="camelid-cardname", elem_id="chat-base-name")
            base = _panel("chat-base")
        with gr.Column(min_width=260):
            right_name = panel(elem_classes="camelid-cardname", elem_id="chat-tuned-name")
            tuned = _panel("chat-tuned")
    said = panel(elem_id="chat-said")
    ask = gr.Textbox(
        label=t("chat.ask"), placeholder=t("chat.ask_hint"), lines=1, max_lines=8, interactive=False, elem_id="chat-ask"
    )
    context = panel(elem_id="chat-context")
    with gr.Row(elem_classes="camelid-actions"):
        send = gr.Button(t("chat.send"), variant="primary", interactive=False, elem_id="chat-send")
        buttons = {name: _button(name) for name in ("stop", "retry", "go_on", "undo")}
        clear = gr.Button(t("chat.clear"), elem_id="chat-clear")
    with gr.Accordion(t("chat.exact"), open=False, elem_id="chat-exact") as prompt:
        exact = panel(elem_id="chat-exact-tokens")
    chat_models.wire_names(services, models, left, (left_name, right_name))
    return {
        "base": base, "tuned": tuned, "said": said, "ask": ask, "context": context, "send": send, "clear": clear,
        "prompt": prompt, "exact": exact, **buttons,
    }  # fmt: skip


def _button(name: str) -> gr.Button:
    return gr.Button(t(f"chat.{name}"), interactive=False, elem_id=f"chat-{name.replace('_', '-')}")


def _panel(ident: str) -> gr.HTML:
    script = files("camelid_ui").joinpath("static", "talk.js").read_text(encoding="utf-8")
    return controls(
        t("chat.empty"), script, elem_id=ident, elem_classes="camelid-chat", max_height=520, autoscroll=True
    )
