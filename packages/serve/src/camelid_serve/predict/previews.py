"""The prompts of the first rows of an input as a model is given them, before anything is generated.

Knows inputs, and how a prompt is encoded and decoded again. Loads no weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from camelid_core.errors import CamelidError
from camelid_core.tokenization.encoder import Encoder

from camelid_serve.engine import PromptTooLong

from .inputs import PredictionInput


@dataclass(frozen=True, slots=True)
class PromptPreview:
    """Row `number`: its exact `prompt` with control tokens, and how many `tokens` that is; `error` says why the row is
    invalid."""

    number: int
    prompt: str = ""
    tokens: int = 0
    error: str = ""


def preview_prompts(
    source: PredictionInput, encoder: Encoder, count: int, context_length: int | None = None
) -> Iterator[PromptPreview]:
    """Of the first `count` rows; `context_length` is that of the model."""
    for row in source.rows(count):
        if row.error:
            yield PromptPreview(row.number, error=row.error)
            continue
        try:
            ids = encoder.given_ids(row.messages)
            if context_length is not None and len(ids) >= context_length:
                raise PromptTooLong(len(ids), context_length)
        except CamelidError as error:
            yield PromptPreview(row.number, error=str(error))
        else:
            yield PromptPreview(row.number, prompt_text(encoder, ids), len(ids))


def prompt_text(encoder: Encoder, ids: Sequence[int]) -> str:
    """A prompt as the model is given it, with control tokens."""
    return str(encoder.tokenizer.decode(ids, clean_up_tokenization_spaces=False))
