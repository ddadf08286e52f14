"""A conversation as plain data: a tree of turns, of which one path from root to leaf is shown.

Knows turns, and how each next one comes about: question, retry, edit, undo, another version, branch. No text is ever
lost: a retry is a sibling of the first attempt, under the same parent. Knows no engine and no widgets. A
`ConversationTree` is immutable: each operation returns a new one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any
from uuid import uuid4

from camelid_core.errors import UsageError
from camelid_core.records import Message
from camelid_serve.answers import AnswerStats
from camelid_serve.engine import Sampling
from pydantic import TypeAdapter, ValidationError

from .services.streaming_answers import Answer, AnswerRequest

_VERSION = 1
MAX_TURNS = 5000
"""Of one conversation that is read: all of them are drawn, each with its buttons."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answers by model name. `parent` is the index of the turn before it, -1 for none; `seed` counts
    how often the same question was asked there before."""

    question: str
    parent: int = -1
    system: str = ""
    seed: int = 0
    answers: Mapping[str, Answer] = field(default_factory=dict)

    def answer(self, model: str) -> tuple[str, Answer]:
        """This model's answer, else that of another model, with the name of the model that gave it."""
        if model in self.answers:
            return model, self.answers[model]
        return next(iter(self.answers.items()), (model, Answer("")))


@dataclass(frozen=True)
class ConversationTree:
    """`at` is the index of the last turn shown, -1 where none is."""

    turns: tuple[Turn, ...] = ()
    at: int = -1
    ident: str = ""

    @property
    def path(self) -> tuple[int, ...]:
        """Indices of the turns shown, from the first to the last."""
        return self.path_to(self.at)

    @property
    def last(self) -> Turn:
        return self.turns[self.at]

    @property
    def title(self) -> str:
        path = self.path
        return self.turns[path[0]].question if path else ""

    def with_question(self, question: str, system: str = "") -> ConversationTree:
        return self._with_turn_after(self.at, question, system)

    def with_retry(self, index: int, system: str = "") -> ConversationTree:
        """The question of that turn once more, with another seed."""
        return self._with_turn_after(self.turns[index].parent, self.turns[index].question, system)

    def with_edited_question(self, index: int, question: str, system: str = "") -> ConversationTree:
        """Another question as a sibling of that turn."""
        return self._with_turn_after(self.turns[index].parent, question, system)

    def with_edited_answer(self, index: int, model: str, text: str) -> ConversationTree:
        """A copy of that turn in which `model` gave this answer."""
        turn = self.turns[index]
        answers = {**turn.answers, model: Answer(text, edited=True)}
        return self._with(replace(turn, answers=answers), len(self.turns))

    def undone(self) -> ConversationTree:
        """Without the last turn, which `redone` brings back."""
        return replace(self, at=self.last.parent)

    def with_answers(self, answers: Mapping[str, Answer]) -> ConversationTree:
        """With these answers to the last turn; those of other models stay."""
        turn = replace(self.last, answers={**self.last.answers, **answers})
        return self._with(turn, self.at)

    def interrupted(self) -> ConversationTree:
        """With the last answers ended where they are, as Stop ends them; one without text is not there yet."""
        if self.at < 0:
            return self
        answers = {
            model: answer if answer.stats else replace(answer, stats=AnswerStats("cancelled", len(answer.ids)))
            for model, answer in self.last.answers.items()
            if answer.stats or answer.text
        }
        return self._with(replace(self.last, answers=answers), self.at)

    def with_rating(self, index: int, model: str, rating: int) -> ConversationTree:
        turn = self.turns[index]
        answers = {**turn.answers, model: replace(turn.answers[model], rating=rating)}
        return replace(self._with(replace(turn, answers=answers), index), at=self.at)

    def other_answers(self, index: int, model: str) -> list[tuple[int, str]]:
        """Turns and models with other answers to the same question."""
        current = self.turns[index]
        same = [
            sibling
            for sibling in self._children(current.parent)
            if (self.turns[sibling].question, self.turns[sibling].system) == (current.question, current.system)
        ]
        answers = [(sibling, name) for sibling in same for name in self.turns[sibling].answers]
        return [each for each in answers if each != (index, model)]

    def with_preferred_answer(self, index: int, model: str) -> ConversationTree:
        """That answer rated good, and all others to the same question bad."""
        tree = self.with_rating(index, model, 1)
        for other, name in self.other_answers(index, model):
            tree = tree.with_rating(other, name, -1)
        return tree

    def versions(self, index: int) -> tuple[int, int]:
        """Which of how many versions of its turn that is, counted from 1."""
        siblings = self._children(self.turns[index].parent)
        return siblings.index(index) + 1, len(siblings)

    def with_version(self, index: int, by: int) -> ConversationTree:
        """The previous or next version of that turn (a sibling), with the turns that followed it."""
        siblings = self._children(self.turns[index].parent)
        position = siblings.index(index) + by
        return self._down_to_leaf(siblings[position]) if 0 <= position < len(siblings) else self

    def hidden_turns(self) -> int:
        """How many turns follow the last one shown, and are not shown."""
        return len(self._children(self.at))

    def redone(self) -> ConversationTree:
        """With the newest turn after the last one shown."""
        return self._down_to_leaf(self._children(self.at)[-1]) if self.hidden_turns() else self

    def branched(self, index: int) -> ConversationTree:
        """A new conversation: a copy up to and including that turn."""
        path = self.path_to(index)
        turns = tuple(replace(self.turns[each], parent=position - 1) for position, each in enumerate(path))
        return ConversationTree(turns, len(turns) - 1, uuid4().hex)

    def with_seed(self, sampling: Sampling) -> Sampling:
        """Sampling settings for the last turn: each retry has a seed of its own."""
        return sampling.model_copy(update={"seed": sampling.seed + self.last.seed}) if self.last.seed else sampling

    def prompt(self, model: str, index: int | None = None) -> list[Message]:
        """The messages that `model` is given at the last turn, or at turn `index`."""
        path = self.path_to(self.at if index is None else index)
        current = self.turns[path[-1]]
        messages = [Message("system", current.system.strip())] if current.system.strip() else []
        for turn in (self.turns[each] for each in path[:-1]):
            messages += [Message("user", turn.question), Message("assistant", turn.answer(model)[1].text)]
        return [*messages, Message("user", current.question)]

    def messages(self, model: str = "", index: int | None = None) -> list[Message]:
        """All messages, with the answer to the last question where there is one."""
        end = self.at if index is None else index
        if end < 0:
            return []
        answer = self.turns[end].answer(model)[1]
        return [*self.prompt(model, end), *([Message("assistant", answer.text)] if answer.text else [])]

    def answer_requests(self, models: Sequence[str]) -> list[AnswerRequest]:
        """A request to answer the last question, for each of these models."""
        return [AnswerRequest(self.prompt(model), model) for model in models]

    def continuations(self, models: Sequence[str]) -> list[AnswerRequest]:
        """Requests to continue the last answers, where they are unfinished."""
        answers = {model: self.last.answers.get(model) for model in models} if self.at >= 0 else {}
        return [
            AnswerRequest([*self.prompt(model), Message("assistant", answer.text)], model, answer)
            for model, answer in answers.items()
            if answer is not None and answer.unfinished
        ]

    def to_json(self) -> dict[str, Any]:
        values: dict[str, Any] = _type_adapter().dump_python(self, mode="json", by_alias=True)
        return {"version": _VERSION, **values}

    @classmethod
    def from_json(cls, value: Any) -> ConversationTree:
        """Raises UsageError: not the output of `to_json`."""
        values = dict(value) if isinstance(value, Mapping) else {}
        version = values.pop("version", None)
        if version != _VERSION:
            raise UsageError(f"this is no conversation of version {_VERSION}, but of {version!r}.")
        try:
            tree = _type_adapter().validate_python(values)
        except ValidationError as error:
            first = error.errors()[0]
            location = ".".join(map(str, first["loc"]))
            raise UsageError(f"this conversation cannot be read: {location}: {first['msg']}.") from None
        if len(tree.turns) > MAX_TURNS:
            raise UsageError(f"this conversation has {len(tree.turns):,} turns; at most {MAX_TURNS:,} are read.")
        if any(not -1 <= turn.parent < index for index, turn in enumerate(tree.turns)) or not (
            -1 <= tree.at < len(tree.turns)
        ):
            raise UsageError("this conversation cannot be read: a turn follows one that comes later.")
        return tree

    def _with_turn_after(self, parent: int, question: str, system: str) -> ConversationTree:
        same = [each for each in self._children(parent) if self.turns[each].question == question]
        return self._with(Turn(question, parent, system, len(same)), len(self.turns))

    def _with(self, turn: Turn, index: int) -> ConversationTree:
        turns = (*self.turns[:index], turn, *self.turns[index + 1 :])
        return ConversationTree(turns, index, self.ident or uuid4().hex)

    def path_to(self, index: int) -> tuple[int, ...]:
        """Indices of the turns from the first to that one."""
        path = []
        while index >= 0:
            path.append(index)
            index = self.turns[index].parent
        return tuple(reversed(path))

    @cached_property
    def _children_of(self) -> Mapping[int, Sequence[int]]:
        """By index: the turns that follow directly."""
        found: dict[int, list[int]] = {}
        for index, turn in enumerate(self.turns):
            found.setdefault(turn.parent, []).append(index)
        return found

    def _children(self, index: int) -> Sequence[int]:
        return self._children_of.get(index, ())

    def _down_to_leaf(self, index: int) -> ConversationTree:
        while children := self._children(index):
            index = children[-1]
        return replace(self, at=index)


@cache
def _type_adapter() -> TypeAdapter[ConversationTree]:
    return TypeAdapter(ConversationTree)
