"""What the first rows of an input look like to a model, before anything is answered.

Knows inputs, and how a prompt is encoded and written out again. Loads no weights and asks nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from camelid_core.errors import CamelidError
from camelid_core.tokenization.encoder import Encoder

from camelid_serve.engine import PromptTooLong

from .inputs import Input


@dataclass(frozen=True, slots=True)
class Preview:
    """Row `number`: its exact `prompt`, special tokens and all, and how many `tokens` that is; `error` says why it
    cannot be asked."""

    number: int
    prompt: str = ""
    tokens: int = 0
    error: str = ""


def previews(source: Input, encoder: Encoder, count: int, longest: int | None = None) -> Iterator[Preview]:
    """Of the first `count` rows; `longest` is how many tokens the model takes, answer included."""
    for row in source.rows(count):
        if row.error:
            yield Preview(row.number, error=row.error)
            continue
        try:
            ids = encoder.prompt_ids(row.messages)
            if longest is not None and len(ids) >= longest:
                raise PromptTooLong(len(ids), longest)
        except CamelidError as error:
            yield Preview(row.number, error=str(error))
        else:
            yield Preview(row.number, written(encoder, ids), len(ids))


def written(encoder: Encoder, ids: Sequence[int]) -> str:
    """A prompt as the model is given it, special tokens and all."""
    return str(encoder.tokenizer.decode(ids, clean_up_tokenization_spaces=False))
