"""`RoleTemplate`: a prompt template as data. Renders conversations to segments; knows no token ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from camelid_core.errors import DataError, TemplateError
from camelid_core.records import Message, check_roles

from .role_fields import RoleFields
from .segments import NO_REASONING, PLACEHOLDER, Segment, merge_segments, split_reasoning_marks


@dataclass(frozen=True, slots=True)
class RoleTemplate(RoleFields):
    """A prompt template as data: one format string per role."""

    def render(self, messages: Sequence[Message]) -> list[Segment]:
        self._check_turns(messages)
        if messages[-1].role != "assistant":
            raise TemplateError(
                f"template {self.name!r}: the last turn is from {messages[-1].role!r}, not from 'assistant'."
            )
        return merge_segments(self._segments(messages))

    def prompt(self, messages: Sequence[Message]) -> list[Segment]:
        self._check_turns(messages)
        if messages[-1].role == "assistant":
            raise TemplateError(f"template {self.name!r}: the last turn is from 'assistant', not from 'user'.")
        return merge_segments([*self._segments(messages), Segment(self.assistant + self.lead, control=True)])

    def unfinished(self, messages: Sequence[Message]) -> list[Segment]:
        """As `render`, up to the last character of the last message: an answer that is to be continued."""
        self._check_turns(messages)
        *begun, _end, _closing = self._segments(messages)
        return merge_segments(begun)

    def parse(self, text: str) -> str:
        start = self.answer_start.strip()
        answer = text.strip()
        return answer.removeprefix(start).strip() if start else answer

    def jinja(self) -> str:
        from .chat_template_export import export

        return export(self)

    def system_text(self, messages: Sequence[Message]) -> str:
        """The conversation's own system text, else the template's default."""
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
        system = self._message_segment("system", text) if own_system else Segment(text, control=True)
        yield Segment(self.start, control=True)
        if self.system and (system.text or self.always_system):
            yield from _fill_format(self.system, {"content": system})
        turns = messages[1:] if own_system else messages
        for index, message in enumerate(turns):
            if message.role == "user":
                yield from self._user(message, index, system, alone=len(turns) <= 2)
            elif message.role == "system":
                yield from _fill_format(self.system, {"content": self._message_segment("system", message.content)})
            else:
                yield from self._answer(message, last=index == len(turns) - 1)

    def _user(self, message: Message, index: int, system: Segment, alone: bool) -> Iterator[Segment]:
        values = {
            "content": self._message_segment("user", message.text),
            "system": system,
            "round": Segment(str(index // 2 + self.first_round), control=True),
        }
        if index == 0 and self.first_user and system.text:
            return _fill_format(self.first_user, values)
        if alone and self.only_user:
            return _fill_format(self.only_user, values)
        if message.context and self.user_with_context:
            values |= {
                "content": self._message_segment("user", message.content),
                "context": self._message_segment("user", message.context),
            }
            return _fill_format(self.user_with_context, values)
        return _fill_format(self.user, values)

    def _answer(self, message: Message, last: bool) -> Iterator[Segment]:
        yield Segment(self.assistant, control=True)
        yield Segment(self.lead, trained=True, control=True)
        start, content = self._answer_text(message.content, last)
        boundary = bool(self.lead)
        for text, control in ((start, True), *split_reasoning_marks(content)):
            yield Segment(text, trained=True, control=control, token_boundary=boundary)
            boundary = boundary and not text
        end = self.answer_end if last or self.turn_end is None else self.turn_end
        yield Segment(end, trained=True, control=True, token_boundary=boundary)
        yield Segment(self.closing if last else self.between, control=True)

    def _answer_text(self, text: str, last: bool) -> tuple[str, str]:
        """What begins an answer, and its content."""
        content = self._message_segment("assistant", text).text
        start = self.answer_start if last or self.turn_start is None else self.turn_start
        if self.drops_reasoning and "</think>" in content:
            head, *_, content = content.split("</think>")
            reasoning = head.split("<think>")[-1].strip("\n")
            content = content.lstrip("\n")
            if last:
                return start.partition(NO_REASONING)[0], f"<think>\n{reasoning}\n</think>\n\n{content}"
        return start, content.lstrip("\n") if last and self.drops_reasoning else content

    def _check_turns(self, messages: Sequence[Message]) -> None:
        turns = messages[1:] if messages and messages[0].role == "system" else messages
        later_system = any(message.role == "system" for message in turns)
        asked = any(message.role == "user" for message in turns)
        if asked and (self.turn_order == "any" or (self.turn_order == "repeated" and not later_system)):
            return
        try:
            check_roles(messages)
        except DataError as error:
            raise TemplateError(f"template {self.name!r}: {error}") from None

    def _message_segment(self, role: str, text: str) -> Segment:
        return Segment(text.strip() if self.strips(role) else text)


def _fill_format(format_string: str, values: Mapping[str, Segment]) -> Iterator[Segment]:
    """The parts of a format string: its own text as control segments, the values for its placeholders."""
    for number, part in enumerate(PLACEHOLDER.split(format_string)):
        yield values[part] if number % 2 else Segment(part, control=True)
