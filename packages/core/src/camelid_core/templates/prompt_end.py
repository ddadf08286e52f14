"""Tokenizers that mark where a prompt ends: any template with the mark before the last answer.

A model with prefix attention (ChatGLM-6B) reads all before the mark in both directions, so nothing there can be learnt:
of a conversation only the last answer is trained. Which texts the mark consists of, a tokenizer says under `prompt_end`
in its `tokenizer_config.json`. Knows segments and Jinja; no token ids.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from camelid_core.records import Message

from .chat_template_export import literal
from .segments import Segment
from .template import PromptTemplate, unfinished

PROMPT_END = "prompt_end"
"""The key in `tokenizer_config.json`."""

_MARKS = re.compile(r"\{%(-?)\s*(?:end)?generation\s*(-?)%\}")


def with_prompt_end(template: PromptTemplate, tokenizer: Any) -> PromptTemplate:
    """The template as this tokenizer needs it: itself, where the tokenizer has no mark for the end of a prompt."""
    end = str(getattr(tokenizer, "init_kwargs", {}).get(PROMPT_END) or "")
    return PromptEndTemplate(template, end) if end else template


@dataclass(frozen=True, slots=True)
class PromptEndTemplate:
    """`template` with `end` between prompt and last answer; earlier answers are part of the prompt, and not trained.
    Where the template writes the mark itself, only that changes."""

    template: PromptTemplate
    end: str

    @property
    def name(self) -> str:
        return self.template.name

    @property
    def help(self) -> str:
        return self.template.help

    @property
    def stops(self) -> tuple[str, ...]:
        return self.template.stops

    @property
    def complete(self) -> bool:
        return bool(getattr(self.template, "complete", False))

    def render(self, messages: Sequence[Message]) -> list[Segment]:
        return self._with_end(messages, self.template.render(messages))

    def prompt(self, messages: Sequence[Message]) -> list[Segment]:
        segments = self.template.prompt(messages)
        written = _text(segments).endswith(self.end)
        return segments if written else [*segments, Segment(self.end, control=True)]

    def unfinished(self, messages: Sequence[Message]) -> list[Segment]:
        return self._with_end(messages, unfinished(self.template, messages))

    def parse(self, text: str) -> str:
        return self.template.parse(text)

    def jinja(self) -> str:
        """The template's own Jinja in a macro: once for the whole, and once for the prompt of its last answer."""
        source = self.template.jinja()
        if self.end in source:
            return source
        closing = str(getattr(self.template, "closing", ""))  # what follows an answer, and is not trained
        return (
            "{%- macro conversation(messages, add_generation_prompt) %}"
            f"{_without_marks(source)}{{%- endmacro %}}"
            "{%- if add_generation_prompt or messages[-1]['role'] != 'assistant' %}"
            "{{- conversation(messages, add_generation_prompt) }}"
            f"{{%- if add_generation_prompt %}}{literal(self.end)}{{%- endif %}}"
            "{%- else %}{%- set prompt = conversation(messages[:-1], true) %}"
            f"{{{{- prompt }}}}{literal(self.end)}"
            "{%- set answer = conversation(messages, false)[prompt | length:] %}"
            f"{{%- generation %}}{{{{- answer[:answer | length - {len(closing)}] }}}}{{%- endgeneration %}}"
            f"{literal(closing)}{{%- endif %}}"
        )

    def _with_end(self, messages: Sequence[Message], segments: Sequence[Segment]) -> list[Segment]:
        prompt = self.prompt(messages[:-1])
        written = _text(self.template.prompt(messages[:-1]))
        return [*(replace(each, trained=False) for each in prompt), *_behind(segments, len(written))]


def _text(segments: Sequence[Segment]) -> str:
    return "".join(segment.text for segment in segments)


def _behind(segments: Sequence[Segment], length: int) -> Iterator[Segment]:
    """What follows the first `length` characters."""
    for segment in segments:
        if len(segment.text) > length:
            yield replace(segment, text=segment.text[length:])
        length = max(0, length - len(segment.text))


def _without_marks(source: str) -> str:
    """Jinja without its marks of what is trained; white space beside them is dropped as before."""
    return _MARKS.sub(r"{#\1 \2#}", source)
