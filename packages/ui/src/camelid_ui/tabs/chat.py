"""The Chat page: one conversation, or two side by side with the same questions and seed.

Knows its components and their handlers. What they do is `services.chat` and `conversation`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError
from camelid_serve.engine import Sampling

from camelid_ui.conversation import Talk, shown
from camelid_ui.fields import Invalid
from camelid_ui.forms import Form
from camelid_ui.services import Services
from camelid_ui.services.chat import Status
from camelid_ui.text import Voice, t, voice_of
from camelid_ui.views import conversation as view
from camelid_ui.views import error, note, state
from camelid_ui.views.numbers import duration

from . import PRIVATE
from .parts import address, message, panel


@dataclass(frozen=True)
class ChatTab:
    """`talk` is the conversation; the two chatbots only show it."""

    model: gr.Dropdown
    load: gr.Button
    status: gr.HTML
    compare: gr.Checkbox
    base: gr.Chatbot
    tuned: gr.Chatbot
    base_column: gr.Column
    ask: gr.Textbox
    send: gr.Button
    stop: gr.Button
    retry: gr.Button
    clear: gr.Button
    said: gr.HTML
    system: gr.Textbox
    form: Form[Sampling]
    exact: gr.HTML
    prompt: gr.Accordion
    talk: gr.State
    timer: gr.Timer
    chosen: gr.Textbox


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
            base = _chatbot("chat-base", t("chat.base"))
        with gr.Column(min_width=260):
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
    tab = ChatTab(
        model=model, load=load, status=status, compare=compare, base=base, tuned=tuned, base_column=base_column, ask=ask,
        send=send, stop=stop, retry=retry, clear=clear, said=said, system=system, form=form, exact=exact, prompt=prompt,
        talk=gr.State(Talk()), timer=gr.Timer(0.7, active=False), chosen=chosen,
    )  # fmt: skip
    _wire_model(tab, services)
    _wire_talk(tab, services)
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
        return status(request)

    def status(request: gr.Request) -> tuple[Any, ...]:
        now, say = services.chat.status, voice_of(request)
        ready = now.state == "ready"
        return (
            _status(now, say),
            gr.Timer(active=now.state == "loading"),
            gr.update(interactive=ready),
            gr.update(interactive=ready),
            gr.update(interactive=ready and now.tuned)
            if ready and now.tuned
            else gr.update(interactive=False, value=False),
            now.model if ready else gr.skip(),
        )

    outputs = [tab.status, tab.timer, tab.ask, tab.send, tab.compare, tab.chosen]
    tab.load.click(load, tab.model, outputs, **PRIVATE)
    tab.timer.tick(status, None, outputs, **PRIVATE)
    tab.compare.change(lambda on: gr.update(visible=on), tab.compare, tab.base_column, **PRIVATE)


def status_of(services: Services, say: Voice) -> tuple[Any, ...]:
    """What a page that opens shows of the resident model: status, timer, ask, send, compare, model."""
    now = services.chat.status
    ready = now.state == "ready"
    names = gr.update(choices=services.models.names(), **({"value": now.model} if now.model else {}))
    return (
        _status(now, say), gr.Timer(active=now.state == "loading"), gr.update(interactive=ready),
        gr.update(interactive=ready), gr.update(interactive=ready and now.tuned), names,
    )  # fmt: skip


def _wire_talk(tab: ChatTab, services: Services) -> None:
    """Asking, stopping, asking again."""
    form = tab.form

    def answer(
        talk: Talk, compare: bool, system: str, values: tuple[Any, ...], request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        say = voice_of(request)
        try:
            sampling = form.config(values)
            stream = services.chat.ask(_session(request), talk.columns(system, compare), talk.seeded(sampling))
            yield (talk, *shown(talk, say), "", *_buttons(True), *form.mark(None, list(form.widgets))[1])
            for answers in stream:
                talk = talk.answered(answers, compare)
                yield (talk, *shown(talk, say), "", *_buttons(True), *_skips(form))
        except Invalid as problem:
            yield (
                talk.without_last(),
                *shown(talk.without_last(), say),
                error(str(problem)),
                *_buttons(False),
                *form.mark(problem)[1],
            )
            return
        except CamelidError as problem:
            yield (
                talk.without_last(),
                *shown(talk.without_last(), say),
                message(problem),
                *_buttons(False),
                *_skips(form),
            )
            return
        yield (talk, *shown(talk, say), "", *_buttons(False), *_skips(form))

    def send(
        request: gr.Request, text: str, talk: Talk, compare: bool, system: str, *values: Any
    ) -> Iterator[tuple[Any, ...]]:
        if not text.strip():
            yield (*[gr.skip()] * 7, *_skips(form), gr.skip())
            return
        for update in answer(talk.asked(text.strip()), compare, system, values, request):
            yield (*update, "")

    def retry(request: gr.Request, talk: Talk, compare: bool, system: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        if talk.turns:
            yield from answer(talk.again(), compare, system, values, request)

    def edit(
        request: gr.Request, change: gr.EditData, talk: Talk, compare: bool, system: str, *values: Any
    ) -> Iterator[tuple[Any, ...]]:
        index = change.index[0] if isinstance(change.index, list | tuple) else change.index
        text = change.value if isinstance(change.value, str) else str(change.value)
        yield from answer(talk.edited(index // 2, text), compare, system, values, request)

    def clear(request: gr.Request) -> tuple[Any, ...]:
        services.chat.stop(_session(request))
        return (Talk(), [], [], "")

    def stop(request: gr.Request) -> None:
        services.chat.stop(_session(request))

    def exact(talk: Talk, draft: str, system: str, request: gr.Request) -> str:
        say = voice_of(request)
        if services.chat.status.state != "ready":
            return note(say("chat.no_model"))
        asked = talk.asked(draft.strip()) if draft.strip() or not talk.turns else talk
        try:
            return view.tokens(
                services.models.prompt(services.chat.status.model, asked.prompt(system)), say, legend=False
            )
        except CamelidError as problem:
            return message(problem)

    inputs = [tab.talk, tab.compare, tab.system, *form.inputs]
    outputs = [tab.talk, tab.base, tab.tuned, tab.said, tab.send, tab.stop, tab.retry, *form.inputs]
    streaming: dict[str, Any] = {**PRIVATE, "concurrency_limit": 8, "concurrency_id": "chat"}
    gr.on([tab.send.click, tab.ask.submit], send, [tab.ask, *inputs], [*outputs, tab.ask], **streaming)
    tab.retry.click(retry, inputs, outputs, **streaming)
    gr.on([tab.tuned.edit, tab.base.edit], edit, inputs, outputs, **streaming)
    tab.stop.click(stop, None, None, queue=False, **PRIVATE)
    gr.on(
        [tab.clear.click, tab.tuned.clear, tab.base.clear],
        clear,
        None,
        [tab.talk, tab.base, tab.tuned, tab.said],
        **PRIVATE,
    )
    tab.prompt.expand(exact, [tab.talk, tab.ask, tab.system], tab.exact, **PRIVATE)


def _session(request: gr.Request) -> str:
    return str(request.session_hash)


def _buttons(running: bool) -> tuple[Any, Any, Any]:
    """Send, stop and retry, each only while it can work."""
    return gr.update(interactive=not running), gr.update(interactive=running), gr.update(interactive=not running)


def _skips(form: Form[Sampling]) -> list[Any]:
    return [gr.skip()] * len(form.inputs)


def _status(now: Status, say: Voice) -> str:
    if now.state == "empty":
        return note(say("chat.no_model"))
    if now.state == "failed":
        return error(say("chat.failed", model=now.model, error=now.error))
    if now.state == "loading":
        return state("running", say("chat.loading", model=now.model, step=now.step, seconds=duration(now.seconds)))
    return state("succeeded", say("chat.ready", model=now.model, seconds=duration(now.seconds)))
