"""The conversation on the Chat page: its widgets, and streaming answers into them.

Knows the widgets of a conversation and which models answer; they are loaded first where they are not. What each button
does is `chat_actions`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import gradio as gr
from camelid_core.errors import CamelidError, ModelError
from camelid_serve.engine import Sampling

from camelid_ui.config_form import ConfigForm
from camelid_ui.conversation_tree import ConversationTree
from camelid_ui.field_values import InvalidFields
from camelid_ui.i18n import Translator, translator_for
from camelid_ui.services import Services
from camelid_ui.services.chat import PageLeft
from camelid_ui.services.streaming_answers import AnswerRequest
from camelid_ui.views import error
from camelid_ui.views.chat import conversation_column

from .chat_models import base_of, poll_timer
from .components import changed_field, error_message
from .stored_conversation import StreamRecorder, withdrawal

Updates = tuple[Any, ...]


@dataclass(frozen=True)
class ConversationWidgets:
    """`tree` is the conversation; the two panels only show it: `tuned` the chosen model's column, `base` the other's.
    `snapshot` is the conversation's JSON whenever no answer is being generated, `store` tells the browser what to
    store, `last_rating` is the last thumb pressed; `notice` shows errors and messages, `message_box` is where a message
    is typed, `returned` a question that goes back there; `poll` lets the page look how far loading is."""

    services: Services
    tree: gr.State
    snapshot: gr.State
    store: gr.Textbox
    last_rating: gr.State
    base: gr.HTML
    tuned: gr.HTML
    notice: gr.HTML
    context: gr.HTML
    send: gr.Button
    stop: gr.Button
    retry: gr.Button
    continue_answer: gr.Button
    undo: gr.Button
    clear: gr.Button
    message_box: gr.Textbox
    model: gr.Dropdown
    seen: gr.Textbox
    poll: gr.Timer
    returned: gr.Textbox
    compare: gr.Checkbox
    other_model: gr.Dropdown
    system: gr.Textbox
    form: ConfigForm[Sampling]
    prompt: gr.Accordion
    exact: gr.HTML

    @property
    def model_inputs(self) -> list[Any]:
        """The inputs that say which models answer; see `AnsweringModels`."""
        return [self.model, self.compare, self.other_model]

    @property
    def inputs(self) -> list[Any]:
        return [self.tree, *self.model_inputs, self.system, *self.form.inputs]

    @property
    def conversation_outputs(self) -> list[Any]:
        """Everything that shows the conversation."""
        buttons = [self.send, self.stop, self.retry, self.continue_answer, self.undo]
        return [self.tree, self.snapshot, self.base, self.tuned, self.notice, self.message_box, *buttons]

    @property
    def outputs(self) -> list[Any]:
        return [*self.conversation_outputs, self.last_rating, self.store, self.poll, self.returned, *self.form.inputs]

    def open(self, tree: ConversationTree, model: str | None, request: gr.Request) -> Updates:
        """Updates for `conversation_outputs` that show another conversation; generation for the previous one stops."""
        self.services.chat.leave(str(request.session_hash))
        say = translator_for(request)
        models = AnsweringModels(model or "", _other_model(tree, model or ""))
        return conversation_updates(self.services, tree, say, models, draft="")


@dataclass(frozen=True, slots=True)
class AnsweringModels:
    """The models that answer: `model`, and `other` too where two are compared."""

    model: str
    other: str = ""
    compare: bool = False

    @classmethod
    def on_page(cls, services: Services, model: str | None, compare: bool, other_model: str | None) -> Self:
        """As chosen on the page; the loaded one while nothing is."""
        model = model or services.chat.status.model
        return cls(model, (other_model or base_of(services, model)) if compare else "", compare)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name in (self.other, self.model) if name)

    def check(self) -> None:
        """Raises ModelError: there are no two to compare."""
        if self.compare and not self.other:
            raise ModelError("choose the model to compare with, next to Compare.")
        if self.other == self.model != "":
            raise ModelError(f"{self.model!r} is on both models; choose another model to compare it with.")


def _other_model(tree: ConversationTree, model: str) -> str:
    """The other model that answered last."""
    found = [name for index in reversed(tree.path) for name in tree.turns[index].answers if name != model]
    return found[0] if found else ""


def panel_updates(
    services: Services, tree: ConversationTree, say: Translator, models: AnsweringModels, running: Sequence[str] = ()
) -> tuple[str, str]:
    """HTML of the other model's column, and of the chosen model's."""
    can_rate = services.profile.allow_changes
    left = conversation_column(tree, models.other, say, running, can_rate) if models.other or models.compare else ""
    return left, conversation_column(tree, models.model, say, running, can_rate)


def conversation_updates(
    services: Services,
    tree: ConversationTree,
    say: Translator,
    models: AnsweringModels,
    notice: str | None = "",
    running: Sequence[str] = (),
    draft: str | None = None,
) -> Updates:
    """Updates for `ConversationWidgets.conversation_outputs`; each button only while it can work. None leaves the
    `notice`, or the `draft` in the message box, unchanged."""
    generating = bool(running)
    has_turns = not generating and bool(tree.path)
    ready = not generating and bool(models.model)
    can = (ready, generating, ready and has_turns, ready and bool(tree.continuations(models.names)), has_turns)
    updates = [gr.update(interactive=each) for each in can]
    snapshot = gr.skip() if generating else tree.to_json()
    shown_notice, shown_draft = (gr.skip() if text is None else text for text in (notice, draft))
    return (tree, snapshot, *panel_updates(services, tree, say, models, running), shown_notice, shown_draft, *updates)


@dataclass(frozen=True, slots=True)
class ButtonPress:
    """A button pressed under a turn: its name, the index of the turn, the model whose answer it belongs to, and its
    value: a text, a rating or a direction."""

    name: str
    turn: int = -1
    model: str = ""
    value: Any = None


def button_press(event: gr.EventData) -> ButtonPress:
    """The button of a conversation column that was pressed; one without a name if it is not one of ours."""
    name, value = changed_field(event)
    try:
        given = json.loads(value)
        return ButtonPress(name, int(given["at"]), str(given.get("by", "")), given.get("to"))
    except (ValueError, TypeError, KeyError, AttributeError):
        return ButtonPress("")


@dataclass(frozen=True)
class AnswerStreamer:
    """Streams answers into a page. `previous` is the conversation to return to if generation cannot start; `question`
    then goes back into the message box."""

    ui: ConversationWidgets
    services: Services
    say: Translator
    session: str
    previous: ConversationTree
    models: AnsweringModels
    values: Sequence[Any]
    question: str | None = None

    def answer(self, tree: ConversationTree, draft: str | None = None) -> Iterator[Updates]:
        """All models answer the last question. None leaves the `draft` in the message box unchanged."""
        yield from self._stream(tree, tree.answer_requests(self.models.names), draft)

    def continue_answer(self, tree: ConversationTree) -> Iterator[Updates]:
        """The models whose last answer is unfinished continue it."""
        yield from self._stream(tree, tree.continuations(self.models.names))

    def idle(
        self, tree: ConversationTree, notice: str = "", draft: str | None = None, marks: Sequence[Any] = ()
    ) -> Updates:
        """Updates while no answer is being generated."""
        return self._update(tree, notice, (), draft, marks)

    def _stream(
        self, tree: ConversationTree, requests: Sequence[AnswerRequest], draft: str | None = None
    ) -> Iterator[Updates]:
        form, names = self.ui.form, [each.model for each in requests]
        try:
            sampling = form.config(self.values)
            self.models.check()
            if not requests:
                raise ModelError("no answer here can be continued: each ended by itself, or another model gave it.")
            chat, wanted = self.services.chat, (self.models.model, self.models.other)
            stream = chat.ask(self.session, requests, tree.with_seed(sampling), wanted)
            recorder = StreamRecorder(sampling.model_dump(mode="json"))
            marks = form.mark_errors(None, list(form.widgets))[1]
            poll = None if chat.has_loaded(*wanted) else poll_timer(loading=True)
            yield self._update(tree, "", names, draft, marks, store=recorder.message(tree), poll=poll, returned="")
            for answers in stream:
                tree = tree.with_answers(dict(zip(names, answers, strict=True)))
                yield self._update(tree, None, names, store=recorder.message(tree))
        except InvalidFields as problem:
            marks = form.mark_errors(problem)[1]
            yield self._update(self.previous, error(str(problem)), (), marks=marks, returned=self.question)
        except CamelidError as problem:
            begun = withdrawal(tree) if len(tree.turns) > len(self.previous.turns) else None
            poll = poll_timer(self.services.chat.status.state == "loading")
            words = error_message(problem)
            yield self._update(self.previous, words, (), store=begun, poll=poll, returned=self.question)
        except PageLeft:
            return  # the page shows another conversation
        else:
            yield self.idle(tree)

    def _update(
        self,
        tree: ConversationTree,
        notice: str | None,
        running: Sequence[str],
        draft: str | None = None,
        marks: Sequence[Any] = (),
        store: str | None = None,
        poll: gr.Timer | None = None,
        returned: str | None = None,
    ) -> Updates:
        skips = [gr.skip()] * len(self.ui.form.inputs)
        shown = conversation_updates(self.services, tree, self.say, self.models, notice, running, draft)
        others = (gr.skip() if each is None else each for each in (None, store, poll, returned))
        return (*shown, *others, *(marks or skips))
