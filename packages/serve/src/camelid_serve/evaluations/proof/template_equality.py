"""Whether two models are prompted with the same token ids: as Camelid prompts them, and as the chat template that each
brings along says, which is what other programs use.

Knows encoders and chat templates. Knows no weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from camelid_core.errors import TemplateError
from camelid_core.records import Message
from camelid_core.template_contract import REFERENCE_CONVERSATION
from camelid_core.templates.chat_template_export import render_chat_template
from camelid_core.tokenization.encoder import Encoder

from camelid_serve.evaluations.greedy_answers import first_difference

CONVERSATIONS: tuple[tuple[Message, ...], ...] = (
    REFERENCE_CONVERSATION,
    (Message("user", "用一句话解释什么是光合作用。 In 12,345 words?"),),
    (Message("system", "Answer in one word."), Message("user", "Capital of France?")),
    (
        Message("user", " Name a prime\n\tabove 100. "),
        Message("assistant", "101 🙂"),
        Message("user", "def f(x): return x  # why?"),
    ),
)
"""The reference conversation of the template contract; Chinese and numbers; a system message; white space and code."""

CAMELID, OWN = "as Camelid prompts", "by its own chat template"


@dataclass(frozen=True, slots=True)
class TemplateDifference:
    """Conversation number `conversation`, from 1, has other token ids from position `position` on; `why` where one side
    renders nothing."""

    conversation: int
    how: str
    position: int | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class TemplateComparison:
    """Names of both templates, how many renderings were compared, and those that differ."""

    source: str
    export: str
    compared: int
    differences: tuple[TemplateDifference, ...]

    @property
    def equal(self) -> bool:
        return not self.differences

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "equal": self.equal, "differences": [asdict(each) for each in self.differences]}


def compare_templates(source: Encoder, export: Encoder) -> TemplateComparison:
    """Prompts of the conversations above from both sides.

    What the export's own chat template says must be how Camelid prompts the source, or else what the source's own chat
    template says: a model that is asked in a registered template may have come with another one, and an export may
    bring either.
    """
    asked, brought = _prompts(source), _own_prompts(export)
    differences = _differences(CAMELID, asked, _prompts(export))
    templates = bool(_chat_template(source) or _chat_template(export))
    if templates:
        references = [asked, *([_own_prompts(source)] if _chat_template(source) else [])]
        found = [_differences(OWN, each, brought) for each in references]
        fewest = min(found, key=len)
        differences += fewest
    names = source.template.name, export.template.name
    return TemplateComparison(*names, (1 + templates) * len(CONVERSATIONS), tuple(differences))


def _differences(how: str, ours: Sequence[Prompt], theirs: Sequence[Prompt]) -> list[TemplateDifference]:
    pairs = enumerate(zip(ours, theirs, strict=True), 1)
    found = (_difference(number, how, one, two) for number, (one, two) in pairs)
    return [each for each in found if each is not None]


Prompt = list[int] | str
"""Token ids, or why there are none."""


def _difference(number: int, how: str, ours: Prompt, theirs: Prompt) -> TemplateDifference | None:
    if isinstance(ours, str) and isinstance(theirs, str):
        return None  # neither has a form for it
    if isinstance(ours, str) or isinstance(theirs, str):
        side, why = ("source", ours) if isinstance(ours, str) else ("export", theirs)
        return TemplateDifference(number, how, None, f"the {side} has no form for it: {why}")
    position = first_difference(ours, theirs)
    return None if position is None else TemplateDifference(number, how, position)


def _prompts(encoder: Encoder) -> list[Prompt]:
    return [_prompt(encoder, messages) for messages in CONVERSATIONS]


def _prompt(encoder: Encoder, messages: Sequence[Message]) -> Prompt:
    try:
        return encoder.prompt_ids(messages)
    except TemplateError as error:
        return str(error)


def _own_prompts(encoder: Encoder) -> list[Prompt]:
    return [_own_prompt(encoder.tokenizer, _chat_template(encoder), messages) for messages in CONVERSATIONS]


def _own_prompt(tokenizer: Any, chat_template: str, messages: Sequence[Message]) -> Prompt:
    """What `apply_chat_template` gives, rendered in the sandbox."""
    if not chat_template:
        return "it brings no chat template"
    try:
        text = render_chat_template(
            chat_template, messages, tokenizer.eos_token or "", True, tokenizer.bos_token or ""
        ).text
    except TemplateError as error:
        return str(error)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _chat_template(encoder: Encoder) -> str:
    found = encoder.tokenizer.chat_template
    found = found.get("default") if isinstance(found, dict) else found
    return found or ""
