"""`Message` and `Record`: what a training example is before any template.

Knows roles and text. Knows nothing of files, templates or tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

from .errors import DataError

Role = Literal["system", "user", "assistant"]
ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `context` is Alpaca's `input`: material the instruction refers to, kept apart
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
    """A conversation to learn from; the last message is the assistant's.

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
    def prompt(self) -> tuple[Message, ...]:
        """All messages before the last answer: what a model is given."""
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


def check_roles(messages: Sequence[Message]) -> None:
    """An optional system message first, then user and assistant in turn.

    Raises:
        DataError: naming the turn and what was expected there.
    """
    if not messages:
        raise DataError("the conversation is empty; it needs at least a user message.")
    turns = list(messages)
    offset = 1 if turns[0].role == "system" else 0
    if len(turns) == offset:
        raise DataError("the conversation holds only a system message; a user message must follow.")
    for index, message in enumerate(turns[offset:]):
        expected = "user" if index % 2 == 0 else "assistant"
        if message.role != expected:
            raise DataError(f"turn {index + offset + 1} is from {message.role!r} where {expected!r} was expected.")


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
