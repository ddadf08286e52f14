"""Asking, stopping, asking again, editing: how the conversation on the Chat page goes on.

Knows the widgets a conversation needs and streams answers into them. Knows nothing of loading models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError
from camelid_serve.engine import Sampling

from camelid_ui.conversation import Talk, shown
from camelid_ui.fields import Invalid
from camelid_ui.forms import Form
from camelid_ui.services import Services
from camelid_ui.tabs import PRIVATE
from camelid_ui.tabs.parts import message
from camelid_ui.text import Voice, voice_of
from camelid_ui.views import conversation as view
from camelid_ui.views import error, note

_STREAMING: dict[str, Any] = {**PRIVATE, "concurrency_limit": 8, "concurrency_id": "chat"}
Updates = tuple[Any, ...]


@dataclass(frozen=True)
class Talking:
    """`talk` is the conversation; the two chatbots only show it."""

    talk: gr.State
    base: gr.Chatbot
    tuned: gr.Chatbot
    said: gr.HTML
    send: gr.Button
    stop: gr.Button
    retry: gr.Button
    clear: gr.Button
    ask: gr.Textbox
    compare: gr.Checkbox
    system: gr.Textbox
    form: Form[Sampling]
    prompt: gr.Accordion
    exact: gr.HTML

    @property
    def inputs(self) -> list[Any]:
        return [self.talk, self.compare, self.system, *self.form.inputs]

    @property
    def outputs(self) -> list[Any]:
        return [
            self.talk,
            self.base,
            self.tuned,
            self.said,
            self.send,
            self.stop,
            self.retry,
            self.ask,
            *self.form.inputs,
        ]


@dataclass(frozen=True)
class _Asking:
    """One question under way. `before` is what the conversation goes back to if it cannot be asked."""

    ui: Talking
    services: Services
    before: Talk
    say: Voice
    session: str
    draft: str = ""

    def answer(self, talk: Talk, compare: bool, system: str, values: Sequence[Any]) -> Iterator[Updates]:
        form = self.ui.form
        try:
            sampling = form.config(values)
            stream = self.services.chat.ask(self.session, talk.columns(system, compare), talk.seeded(sampling))
            yield self._update(talk, running=True, ask="", marks=form.mark(None, list(form.widgets))[1])
            for answers in stream:
                talk = talk.answered(answers, compare)
                yield self._update(talk, running=True)
        except Invalid as problem:
            yield self._update(self.before, error(str(problem)), ask=self.draft, marks=form.mark(problem)[1])
        except CamelidError as problem:
            yield self._update(self.before, message(problem), ask=self.draft)
        else:
            yield self._update(talk)

    def _update(
        self, talk: Talk, said: str = "", running: bool = False, ask: str | None = None, marks: Sequence[Any] = ()
    ) -> Updates:
        """Everything the page shows of the conversation; each button only while it can work."""
        base, tuned = shown(talk, self.say)
        buttons = (not running, running, not running and bool(talk.turns))
        updates = [gr.update(interactive=can) for can in buttons]
        skips = [gr.skip()] * len(self.ui.form.inputs)
        return (talk, base, tuned, said, *updates, gr.skip() if ask is None else ask, *(marks or skips))


def wire(services: Services, ui: Talking) -> None:
    def asking(talk: Talk, request: gr.Request, draft: str = "") -> _Asking:
        return _Asking(ui, services, talk, voice_of(request), _session(request), draft)

    def send(request: gr.Request, text: str, talk: Talk, compare: bool, system: str, *values: Any) -> Iterator[Updates]:
        if text.strip():
            yield from asking(talk, request, text).answer(talk.asked(text.strip()), compare, system, values)
        else:
            yield tuple(gr.skip() for _ in ui.outputs)

    def retry(request: gr.Request, talk: Talk, compare: bool, system: str, *values: Any) -> Iterator[Updates]:
        yield from asking(talk, request).answer(talk.again(), compare, system, values)

    def edit(
        request: gr.Request, change: gr.EditData, talk: Talk, compare: bool, system: str, *values: Any
    ) -> Iterator[Updates]:
        index = change.index[0] if isinstance(change.index, list | tuple) else change.index
        yield from asking(talk, request).answer(talk.edited(index // 2, str(change.value)), compare, system, values)

    def clear(request: gr.Request) -> Updates:
        services.chat.stop(_session(request))
        return (Talk(), [], [], "", gr.update(interactive=False))

    def stop(request: gr.Request) -> None:
        services.chat.stop(_session(request))

    def exact(talk: Talk, draft: str, system: str, request: gr.Request) -> str:
        return _exact(services, talk, draft, system, voice_of(request))

    gr.on([ui.send.click, ui.ask.submit], send, [ui.ask, *ui.inputs], ui.outputs, **_STREAMING)
    ui.retry.click(retry, ui.inputs, ui.outputs, **_STREAMING)
    gr.on([ui.tuned.edit, ui.base.edit], edit, ui.inputs, ui.outputs, **_STREAMING)
    ui.stop.click(stop, None, None, queue=False, **PRIVATE)
    clearing = [ui.clear.click, ui.tuned.clear, ui.base.clear]
    gr.on(clearing, clear, None, [ui.talk, ui.base, ui.tuned, ui.said, ui.retry], **PRIVATE)
    ui.prompt.expand(exact, [ui.talk, ui.ask, ui.system], ui.exact, **PRIVATE)


def _exact(services: Services, talk: Talk, draft: str, system: str, say: Voice) -> str:
    """The draft, or else the last question, as the model is given it."""
    if services.chat.status.state != "ready":
        return note(say("chat.no_model"))
    asked = talk.asked(draft.strip()) if draft.strip() or not talk.turns else talk
    try:
        prompt = services.models.prompt(services.chat.status.model, asked.prompt(system))
    except CamelidError as problem:
        return message(problem)
    return view.tokens(prompt, say, legend=False)


def _session(request: gr.Request) -> str:
    return str(request.session_hash)
