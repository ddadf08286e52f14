"""The conversation on the Chat page: its widgets, and how answers stream into them.

Knows the widgets a conversation needs and who answers. Knows nothing of loading models; what each button does is
`acting`.
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
from camelid_ui.services import Services
from camelid_ui.services.chat import PageLeft
from camelid_ui.services.streaming_answers import AnswerRequest
from camelid_ui.text import Translator, translator_for
from camelid_ui.views import error
from camelid_ui.views.chat import conversation_column

from .components import message, changed_field

Updates = tuple[Any, ...]


@dataclass(frozen=True)
class ConversationWidgets:
    """`talk` is the conversation, the two panels only show it: `tuned` the chosen model's side, `base` the other's.
    `kept` is the conversation's JSON each time it has come to rest, `rated` the last thumb that was pressed."""

    services: Services
    talk: gr.State
    kept: gr.State
    rated: gr.State
    base: gr.HTML
    tuned: gr.HTML
    said: gr.HTML
    context: gr.HTML
    send: gr.Button
    stop: gr.Button
    retry: gr.Button
    go_on: gr.Button
    undo: gr.Button
    clear: gr.Button
    ask: gr.Textbox
    chosen: gr.Textbox
    seen: gr.Textbox
    compare: gr.Checkbox
    beside: gr.Dropdown
    system: gr.Textbox
    form: ConfigForm[Sampling]
    prompt: gr.Accordion
    exact: gr.HTML

    @property
    def who(self) -> list[Any]:
        """What says who answers; see `AnsweringModels`."""
        return [self.chosen, self.compare, self.beside]

    @property
    def inputs(self) -> list[Any]:
        return [self.talk, *self.who, self.system, *self.form.inputs]

    @property
    def rest(self) -> list[Any]:
        """All that shows the conversation."""
        buttons = [self.send, self.stop, self.retry, self.go_on, self.undo]
        return [self.talk, self.kept, self.base, self.tuned, self.said, self.ask, *buttons]

    @property
    def outputs(self) -> list[Any]:
        return [*self.rest, self.rated, *self.form.inputs]

    def open(self, talk: ConversationTree, request: gr.Request) -> Updates:
        """Updates for `rest` that show another conversation; the one before is not answered any more."""
        self.services.chat.leave(str(request.session_hash))
        say = translator_for(request)
        sides = AnsweringModels(self.services.chat.status.model, _another(talk, self.services.chat.status.model))
        return show(self.services, talk, say, sides, ask="")


@dataclass(frozen=True, slots=True)
class AnsweringModels:
    """Who answers: `model`, and `other` too where two are compared."""

    model: str
    other: str = ""
    compare: bool = False

    @classmethod
    def of(cls, services: Services, chosen: str, compare: bool, beside: str | None) -> Self:
        """As the page stands."""
        now = services.chat.status
        return cls(chosen or now.model, (beside or now.base) if compare else "", compare)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name in (self.other, self.model) if name)

    def check(self) -> None:
        """Raises ModelError: there are no two to compare."""
        if self.compare and not self.other:
            raise ModelError("choose the model to compare with, beside Compare.")
        if self.other == self.model != "":
            raise ModelError(f"{self.model!r} is on both sides; choose another model to compare it with.")


def _another(talk: ConversationTree, model: str) -> str:
    """Who else answered last."""
    found = [name for index in reversed(talk.path) for name in talk.turns[index].answers if name != model]
    return found[0] if found else ""


def panels(
    services: Services, talk: ConversationTree, say: Translator, sides: AnsweringModels, running: Sequence[str] = ()
) -> tuple[str, str]:
    """The other's side, and the chosen model's."""
    can_rate = services.profile.allow_changes
    left = conversation_column(talk, sides.other, say, running, can_rate) if sides.other or sides.compare else ""
    return left, conversation_column(talk, sides.model, say, running, can_rate)


def show(
    services: Services,
    talk: ConversationTree,
    say: Translator,
    sides: AnsweringModels,
    said: str | None = "",
    running: Sequence[str] = (),
    ask: str | None = None,
) -> Updates:
    """Updates for `ConversationWidgets.rest`; each button only while it can work. None leaves what is `said`, or in the box to
    `ask`, as it is."""
    going = bool(running)
    asked = not going and bool(talk.path)
    ready = not going and services.chat.status.state == "ready"
    can = (ready, going, ready and asked, ready and bool(talk.continuations(sides.names)), asked)
    updates = [gr.update(interactive=each) for each in can]
    kept = gr.skip() if going else talk.to_json()
    words, box = (gr.skip() if text is None else text for text in (said, ask))
    return (talk, kept, *panels(services, talk, say, sides, running), words, box, *updates)


@dataclass(frozen=True, slots=True)
class ButtonPress:
    """A button: what it is called, at which turn and by whose answer it stands, and where it leads `to`."""

    name: str
    at: int = -1
    by: str = ""
    to: Any = None


def pressed(event: gr.EventData) -> ButtonPress:
    """The button of a panel that was pressed; one without a name if it is none of ours."""
    name, value = changed_field(event)
    try:
        given = json.loads(value)
        return ButtonPress(name, int(given["at"]), str(given.get("by", "")), given.get("to"))
    except (ValueError, TypeError, KeyError, AttributeError):
        return ButtonPress("")


@dataclass(frozen=True)
class AnswerStreamer:
    """A page that asks. `before` is what the conversation goes back to if nothing can be asked; `draft` goes back
    into the box."""

    ui: ConversationWidgets
    services: Services
    say: Translator
    session: str
    before: ConversationTree
    sides: AnsweringModels
    values: Sequence[Any]
    draft: str | None = None

    def ask(self, talk: ConversationTree) -> Iterator[Updates]:
        """The last question, of everybody."""
        emptied = None if self.draft is None else ""
        yield from self._answer(talk, talk.answer_requests(self.sides.names), emptied)

    def go_on(self, talk: ConversationTree) -> Iterator[Updates]:
        """The last answers, of those who were cut off."""
        yield from self._answer(talk, talk.continuations(self.sides.names))

    def rest(
        self, talk: ConversationTree, said: str = "", ask: str | None = None, marks: Sequence[Any] = ()
    ) -> Updates:
        return self._update(talk, said, (), ask, marks)

    def _answer(
        self, talk: ConversationTree, columns: Sequence[AnswerRequest], ask: str | None = None
    ) -> Iterator[Updates]:
        form, names = self.ui.form, [each.model for each in columns]
        try:
            sampling = form.config(self.values)
            self.sides.check()
            if not columns:
                raise ModelError("no answer here can be gone on with: each ended by itself, or another model gave it.")
            stream = self.services.chat.ask(self.session, columns, talk.with_seed(sampling))
            yield self._update(talk, "", names, ask, form.mark_errors(None, list(form.widgets))[1])
            for answers in stream:
                talk = talk.with_answers(dict(zip(names, answers, strict=True)))
                yield self._update(talk, None, names)
        except InvalidFields as problem:
            yield self.rest(self.before, error(str(problem)), self.draft, form.mark_errors(problem)[1])
        except CamelidError as problem:
            yield self.rest(self.before, message(problem), self.draft)
        except PageLeft:
            return  # the page shows another conversation
        else:
            yield self.rest(talk)

    def _update(
        self,
        talk: ConversationTree,
        said: str | None,
        running: Sequence[str],
        ask: str | None = None,
        marks: Sequence[Any] = (),
    ) -> Updates:
        skips = [gr.skip()] * len(self.ui.form.inputs)
        return (*show(self.services, talk, self.say, self.sides, said, running, ask), gr.skip(), *(marks or skips))
