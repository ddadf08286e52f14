"""The answers of a conversation as feedback (ratings) and as transcripts.

Knows the `ConversationTree`. Knows nothing of files and widgets.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from camelid_serve.chat.transcripts import Transcript

from .conversation_tree import ConversationTree
from .services.feedback import RatedAnswer

IMPORTED = "imported"
"""Stands for the model of an answer that came from a file."""


def rated_answers(tree: ConversationTree, index: int, model: str) -> list[RatedAnswer]:
    """That answer, and all others to the same question: of each model, with each seed."""
    return [
        RatedAnswer(answer_id(tree, at, name), tuple(tree.prompt(name, at)), answer.text, name, answer.rating)
        for at, name in ((index, model), *tree.other_answers(index, model))
        if (answer := tree.turns[at].answers.get(name)) is not None
    ]


def answer_id(tree: ConversationTree, index: int, model: str) -> str:
    """Identifies one answer: conversation, turn and model."""
    return f"{tree.ident}/{index}/{model}"


def transcripts(tree: ConversationTree, about: Mapping[str, Any]) -> list[Transcript]:
    """The shown path of a conversation, once for each model that answered; `about` goes into each."""
    turns = [tree.turns[index] for index in tree.path]
    models = list(dict.fromkeys(model for turn in turns for model, answer in turn.answers.items() if answer.text))
    seeds = [turn.seed for turn in turns]
    shared = {**about, "try": [seed + 1 for seed in seeds]} if any(seeds) else about
    return [
        Transcript(tuple(tree.messages(model)), tree.ident + (f"-{number}" if number else ""), model, shared)
        for number, model in enumerate(models)
    ]


def conversation_json(transcript: Transcript) -> dict[str, Any]:
    """A transcript as the JSON of a `ConversationTree`, with a new ident."""
    messages = list(transcript.messages)
    system = messages.pop(0).text if messages and messages[0].role == "system" else ""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "user":
            parent = len(turns) - 1
            turns.append({"question": message.text, "parent": parent, "system": system, "seed": 0, "answers": {}})
        else:
            turns[-1]["answers"][transcript.model or IMPORTED] = {
                "text": message.text, "ids": [], "edited": False, "rating": 0, "error": "", "facts": None,
            }  # fmt: skip
    return {"version": 1, "ident": secrets.token_hex(16), "at": len(turns) - 1, "turns": turns}
