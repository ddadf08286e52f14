"""The conversations that this browser keeps: the list, opening, saving as files, reading files; and judging answers.

Knows its widgets, and what passes between them and the browser's own store, which is `static/history.js`: the server
sees a conversation only when it is opened or saved.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError
from camelid_serve.chat.transcripts import Transcript

from camelid_ui.answer_feedback import answer_id, conversation_json, rated_answers, transcripts
from camelid_ui.conversation_tree import ConversationTree
from camelid_ui.field_values import InvalidFields
from camelid_ui.services import Services
from camelid_ui.services.conversation_files import MAX_CONVERSATIONS
from camelid_ui.services.feedback import PAIRS, THUMBS
from camelid_ui.text import LOCALES, Translator, strings, t, translator_for
from camelid_ui.views import note

from . import EACH, PRIVATE
from .chat_stream import ConversationWidgets
from .components import hidden_box, message, panel

_MOUNT = "camelidHistory.mount(element, trigger, props.words);"
_TITLE = 80
_FORMS = {"md": "text/markdown", "jsonl": "application/x-ndjson"}


@dataclass(frozen=True)
class ChatHistory:
    """`about` is how the answers of the conversation on show were sampled; `store` tells the browser what to keep,
    `file` what to save."""

    about: gr.State
    listed: gr.HTML
    said: gr.HTML
    store: gr.Textbox
    file: gr.Textbox


def build(services: Services, talking: ConversationWidgets) -> ChatHistory:
    with gr.Row(elem_classes="camelid-actions"):
        panel(t("history.title"), elem_classes="camelid-cardname")
        new = gr.Button(t("history.new"), size="sm", elem_id="history-new")
    listed = gr.HTML("", js_on_load=_MOUNT, elem_id="chat-history", words=_words())
    with gr.Row(elem_classes="camelid-actions"):
        saves = {
            kind: gr.Button(t(f"history.{kind}"), size="sm", elem_id=f"history-{kind}") for kind in ("md", "jsonl")
        }
        every = gr.Button(t("history.every"), size="sm", elem_id="history-every")
        read = gr.UploadButton(
            t("history.read"), size="sm", file_types=[".jsonl", ".json", ".csv", ".parquet"], elem_id="history-read"
        )
    said = panel(elem_id="history-said")
    tab = ChatHistory(gr.State({}), listed, said, *(hidden_box(f"history-{name}") for name in ("store", "file")))
    tab.store.change(None, tab.store, None, js="text => { camelidHistory.take(text); }", **PRIVATE)
    _wire_list(tab, talking, new, read, services)
    _wire_saving(tab, talking, saves, every, services)
    _wire_judging(tab, talking, services)
    return tab


def _words() -> dict[str, dict[str, str]]:
    begin = "history.list."
    return {
        locale: {key.removeprefix(begin): text for key, text in strings(locale).items() if key.startswith(begin)}
        for locale in LOCALES
    }


def _wire_list(
    tab: ChatHistory, talking: ConversationWidgets, new: gr.Button, read: gr.UploadButton, services: Services
) -> None:
    def keep(kept: Any, about: dict[str, Any], *values: Any) -> tuple[str, dict[str, Any]]:
        """The conversation has come to rest: the browser keeps it, if anybody answered in it."""
        talk = _talk(kept)
        if talk is None or not any(turn.answers for turn in talk.turns):
            return json.dumps({"current": "", "entries": []}), about
        if (about.get("ident"), about.get("turns")) != (talk.ident, len(talk.turns)):
            about = {"ident": talk.ident, "turns": len(talk.turns), "sampling": _sampling(talking, values)}
        return json.dumps({"current": talk.ident, "entries": [_entry(kept, talk, about)]}), about

    def open_(event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        try:
            given = json.loads(event._data["value"])
            talk = ConversationTree.from_json(given["talk"])
        except (CamelidError, ValueError, TypeError, LookupError, RecursionError):
            return note(translator_for(request)("history.broken")), *[gr.skip()] * (len(talking.rest) + 2)
        about = given.get("about") if isinstance(given.get("about"), dict) else {}
        system = talk.turns[talk.at].system if talk.path else ""
        return "", about, system, *talking.open(talk, request)

    def begin(request: gr.Request) -> tuple[Any, ...]:
        return "", {}, gr.skip(), *talking.open(ConversationTree(), request)

    def take(path: str, request: gr.Request) -> tuple[Any, str]:
        say = translator_for(request)
        try:
            found, odd = services.history.read(path)
        except CamelidError as problem:
            return gr.skip(), message(problem)
        entries = [_entry(form := conversation_json(each), ConversationTree.from_json(form), {}) for each in found]
        parts = [say("history.was_read", count=len(found))]
        parts += [say("history.odd", count=odd)] * bool(odd) + [say("history.most", count=MAX_CONVERSATIONS)] * (
            len(found) >= MAX_CONVERSATIONS
        )
        return json.dumps({"entries": entries}), note(" ".join(parts))

    outputs = [tab.said, tab.about, talking.system, *talking.rest]
    talking.kept.change(keep, [talking.kept, tab.about, *talking.form.inputs], [tab.store, tab.about], **PRIVATE)
    tab.listed.select(open_, None, outputs, **EACH)
    new.click(begin, None, outputs, **PRIVATE)
    read.upload(take, read, [tab.store, tab.said], **PRIVATE)


def _wire_saving(
    tab: ChatHistory, talking: ConversationWidgets, saves: dict[str, gr.Button], every: gr.Button, services: Services
) -> None:
    def saving(kind: str) -> Callable[..., tuple[str, str]]:
        def save(talk: ConversationTree, about: dict[str, Any], request: gr.Request) -> tuple[str, str]:
            say = translator_for(request)
            found = _told(talk, about, services)
            if not found:
                return "", note(say("history.nothing"))
            return _file(services, found, kind, say, _slug(talk.title))

        return save

    def save_every(text: str, request: gr.Request) -> tuple[str, str]:
        say = translator_for(request)
        try:
            talks = [ConversationTree.from_json(entry["talk"]) for entry in json.loads(text)]
        except (CamelidError, ValueError, TypeError, LookupError, RecursionError):
            return "", note(say("history.broken"))
        found = [transcript for talk in talks for transcript in transcripts(talk, {})]
        return _file(services, found, "jsonl", say, "conversations") if found else ("", note(say("history.nothing")))

    written = {"fn": None, "inputs": tab.file, "outputs": None, "js": "text => { camelidHistory.save(text); }"}
    for kind, button in saves.items():
        button.click(saving(kind), [talking.talk, tab.about], [tab.file, tab.said], **PRIVATE).then(
            **written, **PRIVATE
        )
    found = "() => camelidHistory.found()"
    every.click(save_every, tab.file, [tab.file, tab.said], js=found, **PRIVATE).then(**written, **PRIVATE)


def _wire_judging(tab: ChatHistory, talking: ConversationWidgets, services: Services) -> None:
    def judge(rated: Any, talk: ConversationTree, request: gr.Request) -> str:
        if not isinstance(rated, dict):
            return ""
        say = translator_for(request)
        try:
            index, model = int(rated["turn"]), str(rated["model"])
            kept = services.feedback.rate(rated_answers(talk, index, model), answer_id(talk, index, model))
        except CamelidError as problem:
            return message(problem)
        except (LookupError, ValueError):
            return note(say("history.broken"))
        if not rated.get("rating"):
            return note(say("feedback.removed"))
        words = say("feedback.thumb", set=THUMBS) + (say("feedback.pair", set=PAIRS) if kept.pairs else "")
        return note(words)

    talking.rated.change(judge, [talking.rated, talking.talk], talking.said, **PRIVATE)


def _talk(kept: Any) -> ConversationTree | None:
    try:
        return ConversationTree.from_json(kept) if kept else None
    except CamelidError:
        return None


def _entry(form: dict[str, Any], talk: ConversationTree, about: dict[str, Any]) -> dict[str, Any]:
    """As the browser keeps it; it adds the time."""
    words = " ".join(talk.title.split())
    title = words if len(words) <= _TITLE else words[: _TITLE - 1].rstrip() + "…"
    return {"ident": talk.ident, "title": title, "talk": form, "about": about}


def _sampling(talking: ConversationWidgets, values: Sequence[Any]) -> dict[str, Any]:
    try:
        return talking.form.config(values).model_dump(mode="json")
    except InvalidFields:
        return {}


def _told(talk: ConversationTree, about: dict[str, Any], services: Services) -> list[Transcript]:
    """The conversation on show, with all that is known of how its answers came about."""
    sampling = dict(about.get("sampling") or {})
    head: dict[str, Any] = {"seed": sampling.pop("seed", ""), "sampling": sampling or ""}
    found = []
    for transcript in transcripts(talk, head):
        template = _template(services, transcript.model)
        found.append(
            Transcript(
                transcript.messages, transcript.ident, transcript.model, {"template": template} | dict(transcript.about)
            )
        )
    return found


def _template(services: Services, model: str) -> str:
    try:
        return services.models.template(model).name
    except CamelidError:
        return ""  # it is gone, or came from a file


def _file(services: Services, found: list[Transcript], kind: str, say: Translator, name: str) -> tuple[str, str]:
    """For the browser to save, and what to say."""
    try:
        text, odd = (services.history.markdown(found), 0) if kind == "md" else services.history.records(found)
    except CamelidError as problem:
        return "", message(problem)
    file = {"name": f"{name}.{kind}", "type": _FORMS[kind], "text": text}
    left_out = " " + say("history.unlearnable", count=odd) if odd else ""
    return json.dumps(file), note(say("history.saved", name=file["name"]) + left_out)


def _slug(title: str) -> str:
    """Letters and digits of the first words, in any script."""
    kept = "".join(letter if letter.isalnum() else " " for letter in title)
    return "-".join(kept.split()[:6])[:60].strip("-").lower() or "conversation"
