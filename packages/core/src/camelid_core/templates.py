"""Prompt templates: messages → segments of text, each marked trained or not.

Knows bytes and who wrote them (the template or a person). Knows nothing of token ids.
The template owns the loss mask: training, chat, predict and every export render through here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from .errors import DataError, TemplateError
from .records import Message, check_roles

EOS = "{eos}"
"""Stands in a template's text for the tokenizer's own end-of-sequence token."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of text. `control` text was written by the template: control tokens in it are tokens.
    Other text came from a person or a model: whatever it spells, it stays plain text."""

    text: str
    trained: bool = False
    control: bool = False


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


@dataclass(frozen=True, slots=True)
class RoleTemplate:
    """A template given as data: one format per role.

    `system`, `user` and `user_with_context` hold `{content}` (and `{context}`); where
    `user_with_context` is empty, context follows the content on a line of its own.
    `default_system` is used when a conversation brings none; `default_system_with_context` when
    its first user message has a context. An answer is `answer_start + content + answer_end`, all
    of it trained; `between` parts it from the next turn, and `closing` ends the text; neither is trained.
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
    strip: bool = False
    stops: tuple[str, ...] = ()

    def render(self, messages: Sequence[Message]) -> list[Segment]:
        _check(self.name, messages, last="assistant")
        return _merge(self._segments(messages))

    def prompt(self, messages: Sequence[Message]) -> list[Segment]:
        _check(self.name, messages, last="user")
        return _merge([*self._segments(messages), Segment(self.assistant, control=True)])

    def parse(self, text: str) -> str:
        start = self.answer_start.strip()
        answer = text.strip()
        return answer.removeprefix(start).strip() if start else answer

    def jinja(self) -> str:
        from .jinja import export

        return export(self)

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
        system = self.system_text(messages)
        if own_system and not self.system:
            raise TemplateError(f"template {self.name!r} has no place for a system message.")
        if system and self.system:
            yield from _fill(self.system, {"content": system}, control=not own_system, strip=self.strip)
        turns = messages[1:] if own_system else messages
        for index, message in enumerate(turns):
            if message.role == "user":
                yield from self._user(message)
                continue
            yield Segment(self.assistant, control=True)
            yield Segment(self.answer_start, trained=True, control=True)
            yield Segment(message.content.strip() if self.strip else message.content, trained=True)
            yield Segment(self.answer_end, trained=True, control=True)
            yield Segment(self.closing if index == len(turns) - 1 else self.between, control=True)

    def _user(self, message: Message) -> Iterator[Segment]:
        if message.context and self.user_with_context:
            return _fill(
                self.user_with_context, {"content": message.content, "context": message.context}, strip=self.strip
            )
        return _fill(self.user, {"content": message.text}, strip=self.strip)


def _check(name: str, messages: Sequence[Message], last: str) -> None:
    try:
        check_roles(messages)
    except DataError as error:
        raise TemplateError(f"template {name!r}: {error}") from None
    if messages[-1].role != last:
        raise TemplateError(f"template {name!r}: the last turn is from {messages[-1].role!r}, not from {last!r}.")


def _fill(form: str, values: dict[str, str], control: bool = False, strip: bool = False) -> Iterator[Segment]:
    """The parts of `form`: its own text as control segments, the values as plain ones."""
    for part in re.split(r"(\{content\}|\{context\})", form):
        key = part[1:-1] if part in ("{content}", "{context}") else None
        if key is None:
            yield Segment(part, control=True)
        else:
            yield Segment(values[key].strip() if strip else values[key], control=control)


def _merge(segments: Iterator[Segment] | Sequence[Segment]) -> list[Segment]:
    """Neighbours of one kind as one segment; empty ones dropped."""
    merged: list[Segment] = []
    for segment in segments:
        if not segment.text:
            continue
        last = merged[-1] if merged else None
        if last is not None and (last.trained, last.control) == (segment.trained, segment.control):
            merged[-1] = Segment(last.text + segment.text, segment.trained, segment.control)
        else:
            merged.append(segment)
    return merged


def text_of(segments: Sequence[Segment], eos: str = "</s>") -> str:
    """The exact text, with the end-of-sequence token written as `eos`."""
    return "".join(segment.text.replace(EOS, eos) if segment.control else segment.text for segment in segments)
