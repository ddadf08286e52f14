"""Streamed text → token ids, for servers that send text alone.

Knows a tokenizer. The ids, decoded, are the text; they can be others than those the model generated, as there are
several ways to write a text in tokens and encoding gives only one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from camelid_core.tokenization.encoder import INSIDE_TEXT
from camelid_core.tokenization.plain_text import plain_encoders
from camelid_core.tokenization.token_decoder import TokenDecoder

_HELD_BACK = 4
"""Tokens held back: more text may still change the tokens at the end."""


class ContinuationEncoder:
    """Encodes texts so that they are what their ids say behind the prompt's ids: some tokenizers put a space before
    every text. Made once per tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._decoder = TokenDecoder(tokenizer)

    def encode(self, text: str, before: Sequence[int]) -> list[int]:
        ids = encode(self._tokenizer, text)
        if self.decode(ids, before) == text:
            return ids
        other = [int(token) for token in self._inside_text.encode(text, add_special_tokens=False).ids]
        return other if self.decode(other, before) == text else ids

    def decode(self, ids: Sequence[int], before: Sequence[int]) -> str:
        return self._decoder.text_after(before, ids)

    @cached_property
    def _inside_text(self) -> Any:
        return plain_encoders(self._tokenizer.backend_tokenizer)[INSIDE_TEXT]


class StreamingEncoder:
    """Encodes a growing text behind the ids `before`. Ids that were given out are never taken back."""

    def __init__(self, encoder: ContinuationEncoder, before: Sequence[int] = ()) -> None:
        self._encoder = encoder
        self._before = before
        self._text = ""
        self._sent: list[int] = []

    def push(self, text: str) -> tuple[int, ...]:
        """Ids that no further text is likely to change."""
        self._text += text
        ids = self._encoder.encode(self._text, self._before)
        return self._send(ids[: max(0, len(ids) - _HELD_BACK)])

    def finish(self) -> tuple[int, ...]:
        ids = self._encoder.encode(self._text, self._before)
        if ids[: len(self._sent)] == self._sent:
            return self._send(ids)
        rest = self._text[len(self._encoder.decode(self._sent, self._before)) :]
        return tuple(self._encoder.encode(rest, [*self._before, *self._sent]))

    def _send(self, ids: list[int]) -> tuple[int, ...]:
        if ids[: len(self._sent)] != self._sent:
            return ()  # cut another way by now; the end will see
        news = ids[len(self._sent) :]
        self._sent += news
        return tuple(news)


def encode(tokenizer: Any, text: str) -> list[int]:
    """As a continuation: nothing is put before or behind it."""
    return [int(token) for token in tokenizer(text, add_special_tokens=False)["input_ids"]] if text else []


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def prompt_text(tokenizer: Any, ids: Sequence[int]) -> str:
    """A prompt written out, with its control tokens; without the first one that such servers put there themselves."""
    begins = bool(ids) and tokenizer.bos_token_id is not None and ids[0] == tokenizer.bos_token_id
    return decode(tokenizer, ids[1:] if begins else ids)


def token_of(tokenizer: Any, text: str) -> int | None:
    """The token that a text is, where it is one."""
    token = tokenizer.convert_tokens_to_ids(text)
    if isinstance(token, int) and token != tokenizer.unk_token_id:
        return token
    ids = encode(tokenizer, text)
    return ids[0] if len(ids) == 1 else None
