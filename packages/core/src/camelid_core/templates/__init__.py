"""Prompt templates: messages → segments of text, each marked trained or not.

Knows bytes and who wrote them (the template or a person). Knows nothing of token ids.
The template owns the loss mask: training, chat, predict and every export render through here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from camelid_core.errors import DataError, TemplateError
from camelid_core.records import Message, check_roles

EOS = "{eos}"
"""Stands in a template's text for the tokenizer's own end-of-sequence token."""
BOS = "{bos}"
"""The same for the beginning of sequence, in templates that write it again with every turn. The one
at the start of the text is the encoder's: it puts there what the tokenizer itself would."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of text. `control` text was written by the template: control tokens in it are tokens.
    Other text came from a person or a model: whatever it spells, it stays plain text.
    `cut`: a prompt ends before it, so it never shares a token with what comes before."""

    text: str
    trained: bool = False
    control: bool = False
    cut: bool = False


@runtime_checkable
class PromptTemplate(Protocol):
    """How one family of models is prompted. `assert_template_contract` in `camelid_core.testing` checks one.

    `stops` are texts that end an answer although they are no end-of-sequence token.
    """

    @property
    def name(self) -> str: ...
    @property
    def help(self) -> str: ...
    @property
    def stops(self) -> tuple[str, ...]: ...

    def render(self, messages: Sequence[Message]) -> list[Segment]:
        """A whole conversation as trained on; the trained segments are the assistant's answers and their ends.

        Raises TemplateError for conversations the template has no form for.
        """

    def prompt(self, messages: Sequence[Message]) -> list[Segment]:
        """What a model is given to answer the last user message: a prefix of `render`, up to the answer."""

    def parse(self, text: str) -> str:
        """The answer in what the model generated after `prompt`."""

    def jinja(self) -> str:
        """The same bytes as a Hugging Face chat template, `{% generation %}` marks included."""


def for_tokenizer(template: PromptTemplate, tokenizer: Any) -> PromptTemplate:
    """The template itself, or what it becomes with this tokenizer where it has a method of this name."""
    bind = getattr(template, "for_tokenizer", None)
    return template if bind is None else bind(tokenizer)


@dataclass(frozen=True, slots=True)
class RoleTemplate:
    """A template given as data: one format per role.

    `system`, `user` and `user_with_context` hold `{content}` (and `{context}`); where
    `user_with_context` is empty, context follows the content on a line of its own.
    `default_system` is used when a conversation brings none; `default_system_with_context` when
    its first user message has a context. An answer is `answer_start + content + answer_end`, all
    of it trained; `between` parts it from the next turn, and `closing` ends the text; neither is trained.

    What only some families need: `start` comes before everything. `first_user` holds `{system}` too:
    the first user turn where a system text is in force and has its place there. `only_user` is the user
    turn of a conversation that has one. `{round}` in a user format counts the questions from `first_round`.
    `turn_end` ends answers that another turn follows, where that differs from `answer_end`. `lead` stands
    before each answer like `assistant`, is part of the prompt, and is trained all the same.
    `strip`: whether outer white space of messages is dropped; of all, or of these roles.
    """

    name: str
    help: str
    user: str
    assistant: str
    system: str = ""
    user_with_context: str = ""
    default_system: str = ""
    default_system_with_context: str = ""
    answer_start: str = ""
    answer_end: str = EOS
    between: str = ""
    closing: str = ""
    strip: bool | tuple[str, ...] = False
    stops: tuple[str, ...] = ()
    start: str = ""
    first_user: str = ""
    only_user: str = ""
    first_round: int = 1
    turn_end: str | None = None
    lead: str = ""

    def render(self, messages: Sequence[Message]) -> list[Segment]:
        _check(self.name, messages, last="assistant")
        return _merge(self._segments(messages))

    def prompt(self, messages: Sequence[Message]) -> list[Segment]:
        _check(self.name, messages, last="user")
        return _merge([*self._segments(messages), Segment(self.assistant + self.lead, control=True)])

    def parse(self, text: str) -> str:
        start = self.answer_start.strip()
        answer = text.strip()
        return answer.removeprefix(start).strip() if start else answer

    def jinja(self) -> str:
        from .chat_template_export import export

        return export(self)

    def strips(self, role: str) -> bool:
        return self.strip if isinstance(self.strip, bool) else role in self.strip

    def system_text(self, messages: Sequence[Message]) -> str:
        """The system text in force: the conversation's own, else the template's default."""
        if messages and messages[0].role == "system":
            return messages[0].content
        first = next((message for message in messages if message.role == "user"), None)
        if first is not None and first.context and self.default_system_with_context:
            return self.default_system_with_context
        return self.default_system

    def _segments(self, messages: Sequence[Message]) -> Iterator[Segment]:
        own_system = bool(messages) and messages[0].role == "system"
        if own_system and not (self.system or self.first_user):
            raise TemplateError(f"template {self.name!r} has no place for a system message.")
        text = self.system_text(messages)
        system = self._said("system", text) if own_system else Segment(text, control=True)
        yield Segment(self.start, control=True)
        if system.text and self.system:
            yield from _fill(self.system, {"content": system})
        turns = messages[1:] if own_system else messages
        for index, message in enumerate(turns):
            if message.role == "user":
                yield from self._user(message, index, system, alone=len(turns) <= 2)
            else:
                yield from self._answer(message, last=index == len(turns) - 1)

    def _user(self, message: Message, index: int, system: Segment, alone: bool) -> Iterator[Segment]:
        values = {
            "content": self._said("user", message.text),
            "system": system,
            "round": Segment(str(index // 2 + self.first_round), control=True),
        }
        if index == 0 and self.first_user and system.text:
            return _fill(self.first_user, values)
        if alone and self.only_user:
            return _fill(self.only_user, values)
        if message.context and self.user_with_context:
            values |= {"content": self._said("user", message.content), "context": self._said("user", message.context)}
            return _fill(self.user_with_context, values)
        return _fill(self.user, values)

    def _answer(self, message: Message, last: bool) -> Iterator[Segment]:
        yield Segment(self.assistant, control=True)
        yield Segment(self.lead, trained=True, control=True)
        content = self._said("assistant", message.content).text
        end = self.answer_end if last or self.turn_end is None else self.turn_end
        cut = bool(self.lead)
        for text, control in ((self.answer_start, True), (content, False), (end, True)):
            yield Segment(text, trained=True, control=control, cut=cut)
            cut = cut and not text
        yield Segment(self.closing if last else self.between, control=True)

    def _said(self, role: str, text: str) -> Segment:
        return Segment(text.strip() if self.strips(role) else text)


def _check(name: str, messages: Sequence[Message], last: str) -> None:
    try:
        check_roles(messages)
    except DataError as error:
        raise TemplateError(f"template {name!r}: {error}") from None
    if messages[-1].role != last:
        raise TemplateError(f"template {name!r}: the last turn is from {messages[-1].role!r}, not from {last!r}.")


PLACE = re.compile(r"\{(content|context|system|round)\}")


def _fill(form: str, values: Mapping[str, Segment]) -> Iterator[Segment]:
    """The parts of `form`: its own text as control segments, the values as they are."""
    for number, part in enumerate(PLACE.split(form)):
        yield values[part] if number % 2 else Segment(part, control=True)


def _merge(segments: Iterator[Segment] | Sequence[Segment]) -> list[Segment]:
    """Neighbours of one kind as one segment; empty ones dropped."""
    merged: list[Segment] = []
    for segment in segments:
        if not segment.text:
            continue
        last = merged[-1] if merged else None
        if last is not None and not segment.cut and (last.trained, last.control) == (segment.trained, segment.control):
            merged[-1] = Segment(last.text + segment.text, last.trained, last.control, last.cut)
        else:
            merged.append(segment)
    return merged


def text_of(segments: Sequence[Segment], eos: str = "</s>", bos: str = "<s>") -> str:
    """The exact text, with the tokens that end and begin a sequence written as `eos` and `bos`."""
    return "".join(filled(segment.text, eos, bos) if segment.control else segment.text for segment in segments)


def trained_spans(segments: Sequence[Segment], eos: str = "</s>", bos: str = "<s>") -> tuple[tuple[int, int], ...]:
    """Where in the exact text what is trained begins and ends; neighbours as one."""
    spans: list[tuple[int, int]] = []
    end = 0
    for segment in segments:
        start, end = end, end + len(text_of([segment], eos, bos))
        if segment.trained and spans and spans[-1][1] == start:
            spans[-1] = (spans[-1][0], end)
        elif segment.trained and end > start:
            spans.append((start, end))
    return tuple(spans)


def filled(text: str, eos: str, bos: str) -> str:
    """A template's own text with the tokenizer's tokens in it."""
    return text.replace(EOS, eos).replace(BOS, bos)
