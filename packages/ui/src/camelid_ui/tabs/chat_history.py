"""Chat history: the conversations stored in this browser, export and import of files, and feedback on answers.

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
from camelid_ui.i18n import LOCALES, Translator, strings, t, translator_for
from camelid_ui.services import Services
from camelid_ui.services.conversation_files import MAX_CONVERSATIONS
from camelid_ui.services.feedback import PAIRS, THUMBS
from camelid_ui.views import note

from . import EACH, PRIVATE
from .chat_stream import ConversationWidgets
from .components import error_message, hidden_box, panel
from .stored_conversation import about_of, entry, message

_MOUNT = "camelidHistory.mount(element, trigger, props.words);"
_MIME_TYPES = {"md": "text/markdown", "jsonl": "application/x-ndjson"}


@dataclass(frozen=True)
class ChatHistory:
    """`about` is how the answers of the shown conversation were sampled; `file` tells the browser what to download."""

    about: gr.State
    listed: gr.HTML
    notice: gr.HTML
    file: gr.Textbox


def build(services: Services, conversation: ConversationWidgets) -> ChatHistory:
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
    notice = panel(elem_id="history-notice")
    tab = ChatHistory(gr.State({}), listed, notice, hidden_box("history-file"))
    conversation.store.change(None, conversation.store, None, js="text => { camelidHistory.take(text); }", **PRIVATE)
    _wire_list(tab, conversation, new, read, services)
    _wire_saving(tab, conversation, saves, every, services)
    _wire_feedback(tab, conversation, services)
    return tab


def _words() -> dict[str, dict[str, str]]:
    begin = "history.list."
    return {
        locale: {key.removeprefix(begin): text for key, text in strings(locale).items() if key.startswith(begin)}
        for locale in LOCALES
    }


def _wire_list(
    tab: ChatHistory, conversation: ConversationWidgets, new: gr.Button, read: gr.UploadButton, services: Services
) -> None:
    def store(snapshot: Any, about: dict[str, Any], *values: Any) -> tuple[str, dict[str, Any]]:
        """No answer is being generated: the browser stores the conversation, if anything was asked."""
        tree = _tree_of(snapshot)
        if tree is None or not tree.turns:
            return json.dumps({"current": "", "entries": []}), about
        if (about.get("ident"), about.get("turns")) != (tree.ident, len(tree.turns)):
            about = about_of(tree, _sampling(conversation, values))
        return message(tree, about), about

    def open_(model: str | None, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        try:
            given = json.loads(event._data["value"])
            tree = ConversationTree.from_json(given["talk"])
        except (CamelidError, ValueError, TypeError, LookupError, RecursionError):
            return note(translator_for(request)("history.broken")), *[gr.skip()] * (len(outputs) - 1)
        about = given.get("about") if isinstance(given.get("about"), dict) else {}
        system = tree.turns[tree.at].system if tree.path else ""
        return "", about, system, *conversation.open(tree, model, request)

    def new_conversation(model: str | None, request: gr.Request) -> tuple[Any, ...]:
        return "", {}, gr.skip(), *conversation.open(ConversationTree(), model, request)

    def import_file(path: str, request: gr.Request) -> tuple[Any, str]:
        say = translator_for(request)
        try:
            found, skipped = services.history.read(path)
        except CamelidError as problem:
            return gr.skip(), error_message(problem)
        entries = [entry(form := conversation_json(each), ConversationTree.from_json(form), {}) for each in found]
        parts = [say("history.was_read", count=len(found))]
        parts += [say("history.odd", count=skipped)] * bool(skipped) + [
            say("history.most", count=MAX_CONVERSATIONS)
        ] * (len(found) >= MAX_CONVERSATIONS)
        return json.dumps({"entries": entries}), note(" ".join(parts))

    outputs = [tab.notice, tab.about, conversation.system, *conversation.conversation_outputs]
    conversation.snapshot.change(
        store, [conversation.snapshot, tab.about, *conversation.form.inputs], [conversation.store, tab.about], **PRIVATE
    )
    tab.listed.select(open_, conversation.model, outputs, **EACH)
    new.click(new_conversation, conversation.model, outputs, **PRIVATE)
    read.upload(import_file, read, [conversation.store, tab.notice], **PRIVATE)


def _wire_saving(
    tab: ChatHistory,
    conversation: ConversationWidgets,
    saves: dict[str, gr.Button],
    every: gr.Button,
    services: Services,
) -> None:
    def saving(kind: str) -> Callable[..., tuple[str, str]]:
        def save(tree: ConversationTree, about: dict[str, Any], request: gr.Request) -> tuple[str, str]:
            say = translator_for(request)
            found = _transcripts(tree, about, services)
            if not found:
                return "", note(say("history.nothing"))
            return _file(services, found, kind, say, _slug(tree.title))

        return save

    def save_every(text: str, request: gr.Request) -> tuple[str, str]:
        say = translator_for(request)
        try:
            trees = [ConversationTree.from_json(entry["talk"]) for entry in json.loads(text)]
        except (CamelidError, ValueError, TypeError, LookupError, RecursionError):
            return "", note(say("history.broken"))
        found = [transcript for tree in trees for transcript in transcripts(tree, {})]
        return _file(services, found, "jsonl", say, "conversations") if found else ("", note(say("history.nothing")))

    written = {"fn": None, "inputs": tab.file, "outputs": None, "js": "text => { camelidHistory.save(text); }"}
    for kind, button in saves.items():
        button.click(saving(kind), [conversation.tree, tab.about], [tab.file, tab.notice], **PRIVATE).then(
            **written, **PRIVATE
        )
    found = "() => camelidHistory.found()"
    every.click(save_every, tab.file, [tab.file, tab.notice], js=found, **PRIVATE).then(**written, **PRIVATE)


def _wire_feedback(tab: ChatHistory, conversation: ConversationWidgets, services: Services) -> None:
    def rate(last_rating: Any, tree: ConversationTree, request: gr.Request) -> str:
        if not isinstance(last_rating, dict):
            return ""
        say = translator_for(request)
        try:
            index, model = int(last_rating["turn"]), str(last_rating["model"])
            stored = services.feedback.rate(rated_answers(tree, index, model), answer_id(tree, index, model))
        except CamelidError as problem:
            return error_message(problem)
        except (LookupError, ValueError):
            return note(say("history.broken"))
        if not last_rating.get("rating"):
            return note(say("feedback.removed"))
        words = say("feedback.thumb", set=THUMBS) + (say("feedback.pair", set=PAIRS) if stored.pairs else "")
        return note(words)

    conversation.last_rating.change(rate, [conversation.last_rating, conversation.tree], conversation.notice, **PRIVATE)


def _tree_of(snapshot: Any) -> ConversationTree | None:
    try:
        return ConversationTree.from_json(snapshot) if snapshot else None
    except CamelidError:
        return None


def _sampling(conversation: ConversationWidgets, values: Sequence[Any]) -> dict[str, Any]:
    try:
        return conversation.form.config(values).model_dump(mode="json")
    except InvalidFields:
        return {}


def _transcripts(tree: ConversationTree, about: dict[str, Any], services: Services) -> list[Transcript]:
    """The shown conversation, with everything known of how its answers were generated."""
    sampling = dict(about.get("sampling") or {})
    head: dict[str, Any] = {"seed": sampling.pop("seed", ""), "sampling": sampling or ""}
    found = []
    for transcript in transcripts(tree, head):
        template = _template(services, transcript.model)
        found.append(
            Transcript(
                transcript.messages,
                transcript.ident,
                transcript.model,
                {"template": template} | dict(transcript.metadata),
            )
        )
    return found


def _template(services: Services, model: str) -> str:
    try:
        return services.models.template(model).name
    except CamelidError:
        return ""  # the model is gone, or the conversation came from a file


def _file(services: Services, found: list[Transcript], kind: str, say: Translator, name: str) -> tuple[str, str]:
    """The file for the browser to download, and a notice."""
    try:
        text, skipped = (services.history.markdown(found), 0) if kind == "md" else services.history.records(found)
    except CamelidError as problem:
        return "", error_message(problem)
    file = {"name": f"{name}.{kind}", "type": _MIME_TYPES[kind], "text": text}
    left_out = " " + say("history.untrainable", count=skipped) if skipped else ""
    return json.dumps(file), note(say("history.saved", name=file["name"]) + left_out)


def _slug(title: str) -> str:
    """Letters and digits of the first words, in any script."""
    kept = "".join(letter if letter.isalnum() else " " for letter in title)
    return "-".join(kept.split()[:6])[:60].strip("-").lower() or "conversation"
