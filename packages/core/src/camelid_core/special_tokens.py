"""Control tokens (transformers' special tokens): which texts a tokenizer reads as such. Encodes nothing."""

from __future__ import annotations

import re
from typing import Any

_MARKUP = re.compile(r"[<\[◁].+[>\]▷]")


def special_tokens(tokenizer: Any) -> list[str]:
    """Texts that this tokenizer reads as control tokens."""
    return [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]


def added_markup(tokenizer: Any) -> list[str]:
    """Added tokens that are not special but look like markup, as `<|im_end|>` does in some tokenizers: what may mark a
    turn. A word that was added to a vocabulary is none."""
    added = [str(token) for token in tokenizer.added_tokens_decoder.values() if not token.special]
    return [token for token in added if _MARKUP.fullmatch(token)]
