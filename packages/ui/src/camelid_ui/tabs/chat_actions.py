"""Chat actions: sending, and every button beside a conversation and under its turns.

Knows how each action changes a `ConversationTree`. Knows nothing of how it looks, and streams nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from time import time_ns
from typing import Any

import gradio as gr

from camelid_ui.conversation_tree import ConversationTree
from camelid_ui.i18n import translator_for
from camelid_ui.services import Services
from camelid_ui.views import error, note

from . import EACH, LATEST, PRIVATE
from .chat_context import wire_context
from .chat_stream import AnsweringModels, AnswerStreamer, ButtonPress, ConversationWidgets, button_press, panel_updates

_STREAMING: dict[str, Any] = {**EACH, "concurrency_limit": 32, "concurrency_id": "chat"}
"""Whether an action comes too early is decided here, with a message: a browser would drop it, with the typed text."""


def _send(streamer: AnswerStreamer, tree: ConversationTree, press: ButtonPress, system: str) -> Iterator[Any]:
    if press.value.strip():
        yield from streamer.answer(tree.with_question(press.value.strip(), system), draft="")


def _retry(streamer: AnswerStreamer, tree: ConversationTree, press: ButtonPress, system: str) -> Iterator[Any]:
    yield from streamer.answer(tree.with_retry(press.turn, system))


def _edit(streamer: AnswerStreamer, tree: ConversationTree, press: ButtonPress, system: str) -> Iterator[Any]:
    if press.value.strip():
        yield from streamer.answer(tree.with_edited_question(press.turn, press.value.strip(), system))


def _continue(streamer: AnswerStreamer, tree: ConversationTree, press: ButtonPress, system: str) -> Iterator[Any]:
    yield from streamer.continue_answer(tree)


def _undo(streamer: AnswerStreamer, tree: ConversationTree, press: ButtonPress, system: str) -> Iterator[Any]:
    yield streamer.idle(tree.undone(), draft=tree.last.question)


def _redo(streamer: AnswerStreamer, tree: ConversationTree, press: ButtonPress, system: str) -> Iterator[Any]:
    yield streamer.idle(tree.redone())


def _flip(streamer: AnswerStreamer, tree: ConversationTree, press: ButtonPress, system: str) -> Iterator[Any]:
    yield streamer.idle(tree.with_version(press.turn, press.value))


def _branch(streamer: AnswerStreamer, tree: ConversationTree, press: ButtonPress, system: str) -> Iterator[Any]:
    yield streamer.idle(tree.branched(press.turn), note(streamer.say("chat.branched")))


def _reword(streamer: AnswerStreamer, tree: ConversationTree, press: ButtonPress, system: str) -> Iterator[Any]:
    text = press.value.rstrip()
    if text.strip() and text != tree.turns[press.turn].answers[press.model].text:
        yield streamer.idle(tree.with_edited_answer(press.turn, press.model, text), note(streamer.say("chat.reworded")))


def _rate(streamer: AnswerStreamer, tree: ConversationTree, press: ButtonPress, system: str) -> Iterator[Any]:
    yield streamer.idle(tree.with_rating(press.turn, press.model, press.value))
    yield _rating_update(streamer, tree, press, press.value)


def _better(streamer: AnswerStreamer, tree: ConversationTree, press: ButtonPress, system: str) -> Iterator[Any]:
    yield streamer.idle(tree.with_preferred_answer(press.turn, press.model))
    yield _rating_update(streamer, tree, press, 1, better=True)


def _rating_update(
    streamer: AnswerStreamer, tree: ConversationTree, press: ButtonPress, rating: int, better: bool = False
) -> Any:
    rating_event = {"turn": press.turn, "model": press.model, "rating": rating, "better": better}
    return {streamer.ui.last_rating: {**rating_event, "ident": tree.ident, "n": time_ns()}}


ChatAction = Callable[[AnswerStreamer, ConversationTree, ButtonPress, str], Iterator[Any]]
"""`(page, conversation, button, system text)` → updates for `ConversationWidgets.outputs`."""
CHAT_ACTIONS: Mapping[str, ChatAction] = {
    "send": _send, "retry": _retry, "edit": _edit, "continue": _continue, "undo": _undo, "redo": _redo,
    "flip": _flip, "branch": _branch, "reword": _reword, "rate": _rate, "better": _better,
}  # fmt: skip
_VALUE_TYPES: Mapping[str, type] = {"send": str, "edit": str, "reword": str, "flip": int, "rate": int}
_PAGE_ACTIONS = ("send", "redo")
_ANSWER_ACTIONS = ("reword", "rate", "better")


def _is_valid(press: ButtonPress, tree: ConversationTree) -> bool:
    """Whether the page has such a button: what a browser sends is not to be trusted."""
    has_turn = press.name in _PAGE_ACTIONS or 0 <= press.turn < len(tree.turns)
    has_answer = press.name not in _ANSWER_ACTIONS or (has_turn and press.model in tree.turns[press.turn].answers)
    right_type = isinstance(press.value, _VALUE_TYPES.get(press.name, object))
    return press.name in CHAT_ACTIONS and has_turn and has_answer and right_type


_TYPED_AFTER = (
    "(question, typed) => [question, typed === question ? '' : typed].filter(text => text.trim()).join('\\n\\n')"
)
"""A question that goes back into the message box comes before what was typed there meanwhile."""


def wire(services: Services, ui: ConversationWidgets) -> None:
    def perform(press: ButtonPress, request: gr.Request, tree: ConversationTree, *values: Any) -> Iterator[Any]:
        model, compare, other_model, system, *form = values
        yield {ui.notice: gr.skip()}  # a generator that yields nothing clears all its outputs
        say, session = translator_for(request), str(request.session_hash)
        models = AnsweringModels.on_page(services, model, compare, other_model)
        question = press.value if press.name in ("send", "edit") else None
        streamer = AnswerStreamer(ui, services, say, session, tree, models, form, question)
        if not _is_valid(press, tree):
            yield {ui.notice: error(say("chat.unknown_action"))}
        elif services.chat.answering(session):
            yield {ui.notice: note(say("chat.under_way"))}
        else:
            yield from CHAT_ACTIONS[press.name](streamer, tree, press, system)

    def send(request: gr.Request, draft: str, tree: ConversationTree, *values: Any) -> Iterator[Any]:
        yield from perform(ButtonPress("send", value=draft), request, tree, *values)

    def press_button(request: gr.Request, event: gr.EventData, tree: ConversationTree, *values: Any) -> Iterator[Any]:
        yield {ui.notice: gr.skip()}
        press = button_press(event)
        if press.name != "exact":  # `chat_context` handles that
            yield from perform(press, request, tree, *values)

    gr.on([ui.send.click, ui.message_box.submit], send, [ui.message_box, *ui.inputs], ui.outputs, **_STREAMING)
    for name, widget in {"retry": ui.retry, "continue": ui.continue_answer, "undo": ui.undo}.items():
        widget.click(_button(name, perform), ui.inputs, ui.outputs, **_STREAMING)
    gr.on([ui.base.input, ui.tuned.input], press_button, ui.inputs, ui.outputs, **_STREAMING)
    ui.returned.change(None, [ui.returned, ui.message_box], ui.message_box, js=_TYPED_AFTER, **PRIVATE)
    _wire_stop_and_clear(services, ui)
    wire_context(services, ui)


def _button(name: str, perform: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """An action at the last turn."""

    def click(request: gr.Request, tree: ConversationTree, *values: Any) -> Iterator[Any]:
        yield from perform(ButtonPress(name, tree.at), request, tree, *values)

    return click


def _wire_stop_and_clear(services: Services, ui: ConversationWidgets) -> None:
    def clear(model: str | None, request: gr.Request) -> Any:
        return ui.open(ConversationTree(), model, request)

    def stop(request: gr.Request) -> None:
        services.chat.stop(str(request.session_hash))

    def redraw(request: gr.Request, tree: ConversationTree, *models: Any) -> Any:
        """The same conversation, as the other models answered it. An empty one looks the same with every model; its
        update could come after that of a conversation opened meanwhile, and cover it."""
        if not tree.turns or services.chat.answering(str(request.session_hash)):
            return gr.skip(), gr.skip()
        return panel_updates(services, tree, translator_for(request), AnsweringModels.on_page(services, *models))

    changes = [ui.model.change, ui.compare.change, ui.other_model.change]
    gr.on(changes, redraw, [ui.tree, *ui.model_inputs], [ui.base, ui.tuned], **LATEST)
    ui.stop.click(stop, None, None, queue=False, **PRIVATE)
    ui.clear.click(clear, ui.model, ui.conversation_outputs, **PRIVATE)
