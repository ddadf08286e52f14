"""A conversation as the browser stores it, while its answers are generated too.

Knows the entries of `static/history.js`. Knows no widgets.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from camelid_ui.conversation_tree import ConversationTree

_TITLE = 80
_SECONDS = 0.5
_CHARACTERS_PER_SECOND = 200_000
"""A long conversation is stored less often, so that its page stays quick."""


def entry(form: Mapping[str, Any], tree: ConversationTree, about: Mapping[str, Any]) -> dict[str, Any]:
    """`form` is the tree's JSON; the browser adds the time."""
    words = " ".join(tree.title.split())
    title = words if len(words) <= _TITLE else words[: _TITLE - 1].rstrip() + "…"
    return {"ident": tree.ident, "title": title, "talk": form, "about": about}


def about_of(tree: ConversationTree, sampling: Mapping[str, Any]) -> dict[str, Any]:
    """How the answers of a conversation were sampled."""
    return {"ident": tree.ident, "turns": len(tree.turns), "sampling": dict(sampling)}


def message(tree: ConversationTree, about: Mapping[str, Any]) -> str:
    """Tells the browser to store the conversation that is shown."""
    return json.dumps({"current": tree.ident, "entries": [entry(tree.to_json(), tree, about)]})


def withdrawal(tree: ConversationTree) -> str:
    """Tells the browser that the last turn was not begun: its question is in the message box again."""
    return json.dumps({"withdraw": tree.ident, "entries": []})


class StreamRecorder:
    """The conversation as it would be after Stop: at once, with the first text, and then about twice a second."""

    def __init__(self, sampling: Mapping[str, Any]) -> None:
        self._sampling = sampling
        self._next = 0.0
        self._begun = False

    def message(self, tree: ConversationTree) -> str | None:
        """None while the last one is new enough."""
        begun = any(answer.text for answer in tree.last.answers.values())
        if time.monotonic() < self._next and begun == self._begun:
            return None
        self._begun = begun
        text = message(tree.interrupted(), about_of(tree, self._sampling))
        self._next = time.monotonic() + max(_SECONDS, len(text) / _CHARACTERS_PER_SECOND)
        return text
