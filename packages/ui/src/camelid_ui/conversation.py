"""A conversation that may go on in two columns: who said what, what to ask next, and how it looks.

Knows turns. Knows no engine and no widgets; a `Talk` never changes, asking gives a new one.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from camelid_core.records import Message
from camelid_serve.engine import Sampling

from .services.chat import Answer, Column
from .text import Voice

BASE, TUNED = "base", "tuned"


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answers by column; `tries` counts how often it was asked."""

    question: str
    answers: Mapping[str, Answer] = field(default_factory=dict)
    tries: int = 0

    def answer(self, column: str) -> str:
        """This column's answer; where it was not there yet, the other's."""
        found = self.answers.get(column) or next(iter(self.answers.values()), Answer(""))
        return found.text


@dataclass(frozen=True, slots=True)
class Talk:
    turns: tuple[Turn, ...] = ()

    def asked(self, question: str) -> Talk:
        return Talk((*self.turns, Turn(question)))

    def again(self) -> Talk:
        """The last question once more, with another seed."""
        last = self.turns[-1]
        return Talk((*self.turns[:-1], Turn(last.question, {}, last.tries + 1)))

    def edited(self, index: int, question: str) -> Talk:
        """Another question in that turn's place; what came after it is dropped."""
        return Talk((*self.turns[:index], Turn(question)))

    def answered(self, answers: Sequence[Answer], compare: bool) -> Talk:
        names = (BASE, TUNED) if compare else (TUNED,)
        return Talk((*self.turns[:-1], replace(self.turns[-1], answers=dict(zip(names, answers, strict=True)))))

    def seeded(self, sampling: Sampling) -> Sampling:
        tries = self.turns[-1].tries
        return sampling.model_copy(update={"seed": sampling.seed + tries}) if tries else sampling

    def prompt(self, system: str, column: str = TUNED) -> list[Message]:
        """What a column's model is asked."""
        said = [Message("system", system.strip())] if system.strip() else []
        for turn in self.turns[:-1]:
            said += [Message("user", turn.question), Message("assistant", turn.answer(column))]
        return [*said, Message("user", self.turns[-1].question)]

    def columns(self, system: str, compare: bool) -> list[Column]:
        tuned = Column(self.prompt(system, TUNED), tuned=True)
        return [Column(self.prompt(system, BASE), tuned=False), tuned] if compare else [tuned]


def shown(talk: Talk, say: Voice) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Both columns as a chatbot takes them."""
    return _column(talk, BASE, say), _column(talk, TUNED, say)


def _column(talk: Talk, column: str, say: Voice) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for turn in talk.turns:
        messages.append({"role": "user", "content": turn.question})
        answer = turn.answers.get(column)
        if answer is not None and (answer.text or answer.facts):
            messages.append({"role": "assistant", "content": answer.text + _footer(answer, say)})
    return messages


def _footer(answer: Answer, say: Voice) -> str:
    facts = answer.facts
    if facts is None:
        return ""
    if answer.error:
        return f"\n\n<small>{html.escape(answer.error)}</small>"
    parts = [
        say("chat.tokens" if facts.tokens != 1 else "chat.token", count=facts.tokens),
        *([say("chat.speed", rate=f"{facts.tokens_per_second:.1f}")] if facts.tokens_per_second else []),
        say("chat.first", seconds=f"{facts.first_token:.2f}"),
        say.maybe(f"chat.finish.{facts.finish}", facts.finish),
    ]
    return f"\n\n<small>{' · '.join(parts)}</small>"
