"""What a conversation takes of a model's context before it is sent, and its prompt token by token.

Knows the widgets that say so. Counts with tokenizers alone; no model is asked.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError

from camelid_ui.conversation_tree import ConversationTree
from camelid_ui.services import Services
from camelid_ui.text import Translator, translator_for
from camelid_ui.views import conversation as view
from camelid_ui.views import note
from camelid_ui.views.chat import context

from . import EACH, LATEST, PRIVATE
from .chat_stream import AnsweringModels, ConversationWidgets, pressed
from .components import message


def wire_measuring(services: Services, ui: ConversationWidgets) -> None:
    def measure(request: gr.Request, talk: ConversationTree, draft: str, system: str, *who: Any) -> tuple[Any, Any]:
        said, fits = _measured(
            services, talk, draft, system, AnsweringModels.of(services, *who), translator_for(request)
        )
        if services.chat.answering(str(request.session_hash)):
            return said, gr.skip()  # whoever answers frees the button, and this might come later
        return said, gr.update(interactive=fits and services.chat.status.state == "ready")

    def draft(request: gr.Request, talk: ConversationTree, text: str, system: str, *who: Any) -> str:
        asked = talk.with_question(text.strip(), system) if text.strip() or not talk.path else talk
        return _exact(services, asked, asked.at, AnsweringModels.of(services, *who).model, translator_for(request))

    def of_turn(talk: ConversationTree, event: gr.EventData, request: gr.Request) -> tuple[Any, Any]:
        asked = pressed(event)
        if asked.name != "exact" or not 0 <= asked.at < len(talk.turns):
            return gr.skip(), gr.skip()
        return gr.update(open=True), _exact(services, talk, asked.at, asked.by, translator_for(request))

    now = [ui.talk, ui.ask, ui.system, *ui.who]
    news = [ui.ask.change, ui.system.input, ui.kept.change, ui.seen.change, ui.compare.input, ui.beside.input]
    gr.on(news, measure, now, [ui.context, ui.send], **LATEST)
    ui.prompt.expand(draft, now, ui.exact, **PRIVATE)
    gr.on([ui.base.input, ui.tuned.input], of_turn, ui.talk, [ui.prompt, ui.exact], **EACH)


def _measured(
    services: Services, talk: ConversationTree, draft: str, system: str, sides: AnsweringModels, say: Translator
) -> tuple[str, bool]:
    """How full the fullest context is, and whether an answer finds room in it."""
    asked = talk.with_question(draft.strip(), system) if draft.strip() else talk
    if not asked.path or services.chat.status.state != "ready":
        return "", True
    found: list[tuple[int, int]] = []
    try:
        for name in sides.names:
            label, _ = services.chat.resident(name)
            room = services.chat.context_length(name)
            found.append((services.models.count(label, asked.messages(name), room), room))
    except CamelidError as problem:
        return message(problem), True
    used, room = max(found, key=lambda pair: pair[0] / pair[1])
    return context(used, room, say), used < room


def _exact(services: Services, talk: ConversationTree, index: int, model: str, say: Translator) -> str:
    """The question of that turn as `model` is given it."""
    try:
        label = services.chat.resident(model)[0]
    except CamelidError:
        label = model  # its tokenizer alone will do
    if not label:
        return note(say("chat.no_model"))
    try:
        prompt = services.models.prompt(label, talk.prompt(model, index))
    except CamelidError as problem:
        return message(problem)
    number, count = len(talk.path_to(index)), prompt.count()
    words = say("chat.exact_of", number=number, model=model, template=prompt.template, count=count)
    return note(words) + view.tokens(prompt, say, legend=False)
