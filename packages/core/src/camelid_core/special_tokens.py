"""Control tokens (transformers' special tokens): which texts a tokenizer reads as such. Encodes nothing."""

from __future__ import annotations

from typing import Any


def special_tokens(tokenizer: Any) -> list[str]:
    """Texts that this tokenizer reads as control tokens."""
    return [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
