"""Prompt templates: messages → segments of text, each marked trained or not.

Knows bytes and who wrote them (the template or a person). Knows nothing of token ids.
The template owns the loss mask: training, chat, predict and every export render through here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from camelid_core.records import Message

from .segments import Segment


@runtime_checkable
class PromptTemplate(Protocol):
    """A prompt template. `assert_template_contract` in `camelid_core.testing` checks one.

    `stops` are stop texts: they end an answer although they are no end-of-sequence token.
    """

    @property
    def name(self) -> str: ...
    @property
    def help(self) -> str: ...
    @property
    def stops(self) -> tuple[str, ...]: ...

    def render(self, messages: Sequence[Message]) -> list[Segment]:
        """A whole conversation as trained on; the trained segments are the assistant's answers and their ends.

        Raises TemplateError for conversations that the template cannot render.
        """

    def prompt(self, messages: Sequence[Message]) -> list[Segment]:
        """The prompt to generate an answer from, with its generation prompt: a prefix of `render`, up to the answer."""

    def parse(self, text: str) -> str:
        """The answer in what the model generated after `prompt`."""

    def jinja(self) -> str:
        """The same bytes as a Hugging Face chat template, `{% generation %}` marks included."""


def for_tokenizer(template: PromptTemplate, tokenizer: Any) -> PromptTemplate:
    """The template itself, or what it becomes with this tokenizer where it has a method of this name."""
    bind = getattr(template, "for_tokenizer", None)
    return template if bind is None else bind(tokenizer)


def unfinished(template: PromptTemplate, messages: Sequence[Message]) -> list[Segment]:
    """The segments of a conversation up to the end of its last message: an answer that is to be continued."""
    render = getattr(template, "unfinished", None)
    if render is not None:
        return list(render(messages))
    segments = list(template.render(messages))
    while segments[-1].control:  # what ends an answer
        segments.pop()
    return segments
