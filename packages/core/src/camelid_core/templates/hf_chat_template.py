"""Prompt templates that are a chat template's Jinja: `own`, which comes with a model's tokenizer, and what an artefact
holds of the one that it was trained with.

Knows where a model stores its own. Becomes a prompt template only together with a tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from camelid_core.errors import TemplateError
from camelid_core.records import Message

from .segments import Segment
from .template import PromptTemplate

MODEL_TEMPLATE = "own"


class ModelChatTemplate:
    """Placeholder for the model's own chat template in lists and recipes; `for_tokenizer` returns the template."""

    name: str = MODEL_TEMPLATE
    help: str = "The model's own: the chat template that came with it, imported from its Jinja."
    stops: tuple[str, ...] = ()

    def for_tokenizer(self, tokenizer: Any) -> PromptTemplate:
        """The tokenizer's chat template, imported.

        Raises:
            TemplateError: it has none, or one that cannot be imported.
        """
        source = getattr(tokenizer, "chat_template", None)
        if isinstance(source, dict):
            source = source.get("default")
        if not source:
            raise TemplateError(
                "this model brings no chat template of its own; choose one with --template (data.template): "
                "`camelid templates list` shows them."
            )
        return import_for_tokenizer(source, tokenizer, self.name)

    def render(self, messages: Sequence[Message]) -> list[Segment]:
        self._refuse_without_model()

    def prompt(self, messages: Sequence[Message]) -> list[Segment]:
        self._refuse_without_model()

    def parse(self, text: str) -> str:
        return text.strip()

    def jinja(self) -> str:
        self._refuse_without_model()

    def _refuse_without_model(self) -> NoReturn:
        raise TemplateError(f"template {self.name!r} is a model's own: say which model (--model, --tokens).")


class StoredTemplate(ModelChatTemplate):
    """The template that an artefact was trained with, from the Jinja in its manifest. `remedy` is a sentence on how to
    get the template itself."""

    help = "The template that the model was trained with, from the Jinja that it brings."

    def __init__(self, name: str, source: str, remedy: str) -> None:
        self.name = name
        self._source = source
        self._remedy = remedy

    def for_tokenizer(self, tokenizer: Any) -> PromptTemplate:
        """Raises TemplateError: the Jinja cannot be imported."""
        try:
            return import_for_tokenizer(self._source, tokenizer, self.name)
        except TemplateError as refusal:
            raise TemplateError(f"{self._remedy} The Jinja that the model brings does not do: {refusal}") from None

    def jinja(self) -> str:
        return self._source


def import_for_tokenizer(source: str, tokenizer: Any, name: str) -> PromptTemplate:
    """A chat template's Jinja as the prompt template `name` under this tokenizer.

    Raises:
        TemplateError: it cannot be imported.
    """
    from camelid_core.special_tokens import added_markup, special_tokens

    from .chat_template_import import import_template, longest_first

    specials = longest_first(special_tokens(tokenizer) + added_markup(tokenizer))
    return import_template(source, tokenizer.eos_token or "", tokenizer.bos_token or "", specials, name)


def read_chat_template(directory: Path) -> str:
    """The Jinja source of the chat template of the model in `directory`, empty if it has none."""
    try:
        return (directory / "chat_template.jinja").read_text(encoding="utf-8")
    except (OSError, ValueError):
        pass
    try:
        values = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    source = values.get("chat_template") if isinstance(values, dict) else None
    if isinstance(source, list):  # several with names, as older libraries stored them
        named = {each.get("name"): each.get("template") for each in source if isinstance(each, dict)}
        source = named.get("default")
    return source if isinstance(source, str) else ""
