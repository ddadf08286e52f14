"""`Message` and `Record`: what a training example is before any template.

Knows roles and text. Knows nothing of files, templates or tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from .errors import DataError

Role = Literal["system", "user", "assistant", "text"]
ROLES = ("system", "user", "assistant")
"""Roles of turns. A message of the role `text` is no turn: it is a whole record, of which every token is trained."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn, or a text by itself. `context` is Alpaca's `input`: material the instruction refers to, kept apart
    so that templates which show it separately can, and so that writing back loses nothing.
    An answer that is not `trained` stands in the conversation without a loss."""

    role: Role
    content: str
    context: str = ""
    trained: bool = True

    @property
    def text(self) -> str:
        """Content and context as one text, for templates without a place for the context."""
        return f"{self.content}\n{self.context}" if self.context else self.content


@dataclass(frozen=True, slots=True)
class Record:
    """A conversation to learn from, whose last message is the assistant's; or a text by itself, for continued
    pre-training: one message of the role `text`, which no template has a part in.

    `id` is stable across runs and unique within `source`. With feedback: `rejected` is the rejected answer of a
    preference pair, and `label` says whether the last message is a good answer (KTO).
    """

    messages: tuple[Message, ...]
    id: str = ""
    source: str = ""
    tags: tuple[str, ...] = ()
    rejected: str | None = None
    label: bool | None = None

    @property
    def is_text(self) -> bool:
        return is_text(self.messages)

    @property
    def prompt(self) -> tuple[Message, ...]:
        """All messages before the last answer: what a model is given. Nothing where the record is a text."""
        if self.is_text:
            return ()
        return self.messages[:-1] if self.messages and self.messages[-1].role == "assistant" else self.messages

    @property
    def feedback(self) -> dict[str, str | bool]:
        """`rejected` and `label`, where they are given."""
        given = {"rejected": self.rejected, "label": self.label}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def answer(self) -> str:
        """The last message's text if it is the assistant's, else empty."""
        last = self.messages[-1] if self.messages else None
        return last.content if last is not None and last.role == "assistant" else ""


NO_QUESTION = "it is a text without turns: there is no question to answer in it."


def is_text(messages: Sequence[Message]) -> bool:
    """Whether these are a text by itself and no conversation."""
    return len(messages) == 1 and messages[0].role == "text"


def check_roles(messages: Sequence[Message]) -> None:
    """An optional system message first, then user and assistant in turn.

    Raises:
        DataError: naming the turn and what was expected there.
    """
    if not messages:
        raise DataError("the conversation is empty; it needs at least a user message.")
    if is_text(messages):
        raise DataError(NO_QUESTION, "no_question")
    turns = list(messages)
    offset = 1 if turns[0].role == "system" else 0
    if len(turns) == offset:
        raise DataError("the conversation holds only a system message; a user message must follow.")
    for index, message in enumerate(turns[offset:]):
        expected = "user" if index % 2 == 0 else "assistant"
        if message.role != expected:
            raise DataError(f"turn {index + offset + 1} is from {message.role!r} where {expected!r} was expected.")


def text_record(text: str, id: str = "", source: str = "", tags: tuple[str, ...] = ()) -> Record:
    """A text by itself."""
    return Record((Message("text", text),), id, source, tags)


def take_turns(messages: Sequence[Message]) -> bool:
    """Whether user and assistant, whoever begins, speak in turn after an optional system message."""
    roles = [message.role for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    return "system" not in turns and all(one != other for one, other in pairwise(turns))


def alpaca(
    instruction: str, output: str, context: str = "", id: str = "", source: str = "", tags: tuple[str, ...] = ()
) -> Record:
    """A single-turn record from Alpaca's three columns."""
    return Record((Message("user", instruction, context), Message("assistant", output)), id, source, tags)
