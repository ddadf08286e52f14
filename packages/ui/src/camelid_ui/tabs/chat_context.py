"""Context length used by a conversation before it is sent, and the exact prompt token by token.

Knows the widgets that say so. Counts with tokenizers alone; no model is loaded.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError

from camelid_ui.conversation_tree import ConversationTree
from camelid_ui.i18n import Translator, translator_for
from camelid_ui.services import Services
from camelid_ui.views import conversation as view
from camelid_ui.views import note
from camelid_ui.views.chat import context

from . import EACH, LATEST, PRIVATE
from .chat_stream import AnsweringModels, ConversationWidgets, button_press
from .components import error_message


def wire_context(services: Services, ui: ConversationWidgets) -> None:
    def measure(request: gr.Request, tree: ConversationTree, draft: str, system: str, *chosen: Any) -> tuple[Any, Any]:
        models = AnsweringModels.on_page(services, *chosen)
        usage, fits = _context_usage(services, tree, draft, system, models, translator_for(request))
        if services.chat.answering(str(request.session_hash)):
            return usage, gr.skip()  # the answer's last update enables the button; this one might come later
        return usage, gr.update(interactive=fits and bool(models.model))

    def draft_prompt(request: gr.Request, tree: ConversationTree, text: str, system: str, *models: Any) -> str:
        asked = tree.with_question(text.strip(), system) if text.strip() or not tree.path else tree
        return _exact_prompt(
            services, asked, asked.at, AnsweringModels.on_page(services, *models).model, translator_for(request)
        )

    def turn_prompt(tree: ConversationTree, event: gr.EventData, request: gr.Request) -> tuple[Any, Any]:
        press = button_press(event)
        if press.name != "exact" or not 0 <= press.turn < len(tree.turns):
            return gr.skip(), gr.skip()
        return gr.update(open=True), _exact_prompt(services, tree, press.turn, press.model, translator_for(request))

    inputs = [ui.tree, ui.message_box, ui.system, *ui.model_inputs]
    changes = [
        ui.message_box.change,
        ui.system.input,
        ui.snapshot.change,
        ui.seen.change,
        ui.model.change,
        ui.compare.input,
        ui.other_model.input,
    ]
    gr.on(changes, measure, inputs, [ui.context, ui.send], **LATEST)
    ui.prompt.expand(draft_prompt, inputs, ui.exact, **PRIVATE)
    gr.on([ui.base.input, ui.tuned.input], turn_prompt, ui.tree, [ui.prompt, ui.exact], **EACH)


def _context_usage(
    services: Services, tree: ConversationTree, draft: str, system: str, models: AnsweringModels, say: Translator
) -> tuple[str, bool]:
    """How full the fullest context is, and whether an answer finds limit in it."""
    asked = tree.with_question(draft.strip(), system) if draft.strip() else tree
    if not asked.path or not services.chat.has_loaded(*models.names):
        return "", True
    found: list[tuple[int, int]] = []
    try:
        for name in models.names:
            label, _ = services.chat.resident(name)
            limit = services.chat.context_length(name)
            found.append((services.models.count_tokens(label, asked.messages(name), limit), limit))
    except CamelidError as problem:
        return error_message(problem), True
    used, limit = max(found, key=lambda pair: pair[0] / pair[1])
    return context(used, limit, say), used < limit


def _exact_prompt(services: Services, tree: ConversationTree, index: int, model: str, say: Translator) -> str:
    """The prompt of that turn, token by token, as `model` receives it."""
    try:
        label = services.chat.resident(model)[0]
    except CamelidError:
        label = model  # its tokenizer alone will do
    if not label:
        return note(say("chat.no_model"))
    try:
        prompt = services.models.prompt(label, tree.prompt(model, index))
    except CamelidError as problem:
        return error_message(problem)
    number, count = len(tree.path_to(index)), prompt.count()
    words = say("chat.exact_of", number=number, model=model, template=prompt.template, count=count)
    return note(words) + view.tokens(prompt, say, legend=False)
