"""The Chat page: one conversation, or two models side by side with the same prompts and seed.

Knows the layout of the page. Choosing models is `chat_models`, streaming answers `chat_stream`, the buttons
`chat_actions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import gradio as gr
from camelid_serve.engine import Sampling

from camelid_ui.config_form import ConfigForm
from camelid_ui.conversation_tree import ConversationTree
from camelid_ui.i18n import t
from camelid_ui.services import Services

from . import chat_actions, chat_history, chat_models, chat_settings
from .chat_models import ModelPicker, status_of
from .chat_stream import ConversationWidgets
from .components import controls, hidden_box, panel

__all__ = ["ChatTab", "build", "status_of"]


@dataclass(frozen=True)
class ChatTab:
    model_picker: ModelPicker
    conversation: ConversationWidgets
    history: chat_history.ChatHistory

    @property
    def model(self) -> gr.Dropdown:
        return self.model_picker.model

    @property
    def shown(self) -> list[Any]:
        """What depends on the loaded model; `status_of` gives updates for it."""
        return self.model_picker.shown


def build(services: Services) -> ChatTab:
    models = chat_models.build(services)
    with gr.Row(elem_classes="camelid-conversation", equal_height=False):
        with gr.Column(elem_classes="camelid-conversation-main", min_width=280):
            parts = _conversation(services, models)
        with gr.Column(elem_classes="camelid-aside", min_width=240):
            system = gr.Textbox(
                label=t("chat.system"), info=t("chat.system_help"), lines=1, max_lines=6, elem_id="chat-system"
            )
            form = ConfigForm(Sampling, "sampling")
            chat_settings.build(services, message_box=parts["message_box"], system=system, form=form)
            conversation = ConversationWidgets(
                services=services, tree=gr.State(ConversationTree()), snapshot=gr.State(None),
                store=hidden_box("history-store"), returned=hidden_box("chat-returned"),
                last_rating=gr.State(None), system=system,
                form=form, model=models.model, seen=models.seen, poll=models.timer, compare=models.compare,
                other_model=models.other_model,
                **parts,
            )  # fmt: skip
            history = chat_history.build(services, conversation)
    chat_actions.wire(services, conversation)
    chat_models.wire(services, models)
    return ChatTab(models, conversation, history)


def _conversation(services: Services, models: ModelPicker) -> dict[str, Any]:
    """The conversation's columns, the message box and the buttons, by their names in `ConversationWidgets`."""
    with gr.Row(equal_height=True, elem_classes="camelid-columns"):
        with gr.Column(visible=False, min_width=260) as left:
            left_name = panel(elem_classes="camelid-cardname", elem_id="chat-base-name")
            base = _panel("chat-base")
        with gr.Column(min_width=260):
            right_name = panel(elem_classes="camelid-cardname", elem_id="chat-tuned-name")
            tuned = _panel("chat-tuned")
    notice = panel(elem_id="chat-notice")
    message_box = gr.Textbox(
        label=t("chat.ask"),
        placeholder=t("chat.ask_hint"),
        lines=1,
        max_lines=8,
        elem_id="chat-message",
    )
    context = panel(elem_id="chat-context")
    with gr.Row(elem_classes="camelid-actions"):
        send = gr.Button(t("chat.send"), variant="primary", interactive=False, elem_id="chat-send")
        buttons = {name: _button(name) for name in ("stop", "retry", "continue_answer", "undo")}
        clear = gr.Button(t("chat.clear"), elem_id="chat-clear")
    with gr.Accordion(t("chat.exact"), open=False, elem_id="chat-exact") as prompt:
        exact = panel(elem_id="chat-exact-tokens")
    chat_models.wire_names(services, models, left, (left_name, right_name))
    return {
        "base": base, "tuned": tuned, "notice": notice, "message_box": message_box, "context": context, "send": send,
        "clear": clear,
        "prompt": prompt, "exact": exact, **buttons,
    }  # fmt: skip


def _button(name: str) -> gr.Button:
    return gr.Button(t(f"chat.{name}"), interactive=False, elem_id=f"chat-{name.replace('_', '-')}")


def _panel(ident: str) -> gr.HTML:
    script = files("camelid_ui").joinpath("static", "conversation.js").read_text(encoding="utf-8")
    return controls(
        t("chat.empty"), script, elem_id=ident, elem_classes="camelid-chat", max_height=520, autoscroll=True
    )
