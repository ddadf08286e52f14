"""What can be done with a conversation: sending, and every button beside it and under its turns.

Knows what each deed makes of a `ConversationTree`. Knows nothing of how it looks, and streams nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from time import time_ns
from typing import Any

import gradio as gr

from camelid_ui.conversation_tree import ConversationTree
from camelid_ui.services import Services
from camelid_ui.text import translator_for
from camelid_ui.views import error, note

from . import EACH, PRIVATE
from .chat_context import wire_measuring
from .chat_stream import AnswerStreamer, ButtonPress, AnsweringModels, ConversationWidgets, panels, pressed

_STREAMING: dict[str, Any] = {**EACH, "concurrency_limit": 32, "concurrency_id": "chat"}
"""Whether a deed comes too early is decided here, and said: a browser would drop it, with the text that was written."""


def _send(page: AnswerStreamer, talk: ConversationTree, pressed: ButtonPress, system: str) -> Iterator[Any]:
    if pressed.to.strip():
        yield from page.ask(talk.with_question(pressed.to.strip(), system))


def _retry(page: AnswerStreamer, talk: ConversationTree, pressed: ButtonPress, system: str) -> Iterator[Any]:
    yield from page.ask(talk.with_retry(pressed.at, system))


def _edit(page: AnswerStreamer, talk: ConversationTree, pressed: ButtonPress, system: str) -> Iterator[Any]:
    if pressed.to.strip():
        yield from page.ask(talk.with_edited_question(pressed.at, pressed.to.strip(), system))


def _continue(page: AnswerStreamer, talk: ConversationTree, pressed: ButtonPress, system: str) -> Iterator[Any]:
    yield from page.go_on(talk)


def _undo(page: AnswerStreamer, talk: ConversationTree, pressed: ButtonPress, system: str) -> Iterator[Any]:
    yield page.rest(talk.undone(), ask=talk.last.question)


def _redo(page: AnswerStreamer, talk: ConversationTree, pressed: ButtonPress, system: str) -> Iterator[Any]:
    yield page.rest(talk.redone())


def _flip(page: AnswerStreamer, talk: ConversationTree, pressed: ButtonPress, system: str) -> Iterator[Any]:
    yield page.rest(talk.with_version(pressed.at, pressed.to))


def _branch(page: AnswerStreamer, talk: ConversationTree, pressed: ButtonPress, system: str) -> Iterator[Any]:
    yield page.rest(talk.branched(pressed.at), note(page.say("chat.branched")))


def _reword(page: AnswerStreamer, talk: ConversationTree, pressed: ButtonPress, system: str) -> Iterator[Any]:
    text = pressed.to.rstrip()
    if text.strip() and text != talk.turns[pressed.at].answers[pressed.by].text:
        yield page.rest(talk.with_edited_answer(pressed.at, pressed.by, text), note(page.say("chat.reworded")))


def _rate(page: AnswerStreamer, talk: ConversationTree, pressed: ButtonPress, system: str) -> Iterator[Any]:
    yield page.rest(talk.with_rating(pressed.at, pressed.by, pressed.to))
    yield _told(page, talk, pressed, pressed.to)


def _better(page: AnswerStreamer, talk: ConversationTree, pressed: ButtonPress, system: str) -> Iterator[Any]:
    yield page.rest(talk.with_preferred_answer(pressed.at, pressed.by))
    yield _told(page, talk, pressed, 1, better=True)


def _told(page: AnswerStreamer, talk: ConversationTree, pressed: ButtonPress, rating: int, better: bool = False) -> Any:
    judged = {"turn": pressed.at, "model": pressed.by, "rating": rating, "better": better}
    return {page.ui.rated: {**judged, "ident": talk.ident, "n": time_ns()}}


ChatAction = Callable[[AnswerStreamer, ConversationTree, ButtonPress, str], Iterator[Any]]
"""`(page, conversation, button, system text)` → updates for `ConversationWidgets.outputs`."""
CHAT_ACTIONS: Mapping[str, ChatAction] = {
    "send": _send, "retry": _retry, "edit": _edit, "continue": _continue, "undo": _undo, "redo": _redo,
    "flip": _flip, "branch": _branch, "reword": _reword, "rate": _rate, "better": _better,
}  # fmt: skip
_TO: Mapping[str, type] = {"send": str, "edit": str, "reword": str, "flip": int, "rate": int}
_OF_THE_PAGE = ("send", "redo")
_OF_AN_ANSWER = ("reword", "rate", "better")


def _fits(asked: ButtonPress, talk: ConversationTree) -> bool:
    """Whether such a button stands there: what a browser sends is not always what it was given."""
    there = asked.name in _OF_THE_PAGE or 0 <= asked.at < len(talk.turns)
    theirs = asked.name not in _OF_AN_ANSWER or (there and asked.by in talk.turns[asked.at].answers)
    return asked.name in CHAT_ACTIONS and there and theirs and isinstance(asked.to, _TO.get(asked.name, object))


def wire(services: Services, ui: ConversationWidgets) -> None:
    def act(asked: ButtonPress, request: gr.Request, talk: ConversationTree, *values: Any) -> Iterator[Any]:
        chosen, compare, beside, system, *form = values
        yield {ui.said: gr.skip()}  # a generator that gives nothing empties all its outputs
        say, session = translator_for(request), str(request.session_hash)
        sides = AnsweringModels.of(services, chosen, compare, beside)
        page = AnswerStreamer(ui, services, say, session, talk, sides, form, asked.to if asked.name == "send" else None)
        if not _fits(asked, talk):
            yield {ui.said: error(say("chat.unknown_action"))}
        elif services.chat.answering(session):
            yield {ui.said: note(say("chat.under_way"))}
        else:
            yield from CHAT_ACTIONS[asked.name](page, talk, asked, system)

    def send(request: gr.Request, draft: str, talk: ConversationTree, *values: Any) -> Iterator[Any]:
        yield from act(ButtonPress("send", to=draft), request, talk, *values)

    def deed(request: gr.Request, event: gr.EventData, talk: ConversationTree, *values: Any) -> Iterator[Any]:
        yield {ui.said: gr.skip()}
        asked = pressed(event)
        if asked.name != "exact":  # which is `measuring`'s
            yield from act(asked, request, talk, *values)

    gr.on([ui.send.click, ui.ask.submit], send, [ui.ask, *ui.inputs], ui.outputs, **_STREAMING)
    for name, widget in {"retry": ui.retry, "continue": ui.go_on, "undo": ui.undo}.items():
        widget.click(_button(name, act), ui.inputs, ui.outputs, **_STREAMING)
    gr.on([ui.base.input, ui.tuned.input], deed, ui.inputs, ui.outputs, **_STREAMING)
    _wire_ends(services, ui)
    wire_measuring(services, ui)


def _button(name: str, act: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """A deed at the last turn."""

    def click(request: gr.Request, talk: ConversationTree, *values: Any) -> Iterator[Any]:
        yield from act(ButtonPress(name, talk.at), request, talk, *values)

    return click


def _wire_ends(services: Services, ui: ConversationWidgets) -> None:
    def clear(request: gr.Request) -> Any:
        return ui.open(ConversationTree(), request)

    def stop(request: gr.Request) -> None:
        services.chat.stop(str(request.session_hash))

    def redraw(request: gr.Request, talk: ConversationTree, *who: Any) -> Any:
        """The same conversation, as others know it."""
        if services.chat.answering(str(request.session_hash)):
            return gr.skip(), gr.skip()
        return panels(services, talk, translator_for(request), AnsweringModels.of(services, *who))

    changes = [ui.chosen.change, ui.compare.change, ui.beside.change]
    gr.on(changes, redraw, [ui.talk, *ui.who], [ui.base, ui.tuned], **PRIVATE)
    ui.stop.click(stop, None, None, queue=False, **PRIVATE)
    ui.clear.click(clear, None, ui.rest, **PRIVATE)
