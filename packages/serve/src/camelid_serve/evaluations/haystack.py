"""Passkey prompts: a key (the needle) in filler text (the haystack) of a given length in tokens.

Knows the wording of Mohtashami & Jaggi 2023 (Landmark Attention, arXiv:2305.16300), which Chen et al. 2023 and others
took over. Knows no tokenizer: whoever calls says how long a text is.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from camelid_core.errors import DataError

_TASK = (
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. "
    "I will quiz you about the important information there."
)
FILLING = ("The grass is green.", "The sky is blue.", "The sun is yellow.", "Here we go.", "There and back again.")
_NEEDLE = "The pass key is {key}. Remember it. {key} is the pass key."
_QUESTION = "What is the pass key? The pass key is"
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Haystack:
    """`text` is the user message, `at` the position of the key in it in characters, `tokens` the prompt's length."""

    text: str
    at: int
    tokens: int


def passkey_of(seed: int, number: int) -> str:
    """Five digits, determined by seed and number."""
    return str(random.Random(f"{seed}/{number}").randint(10_000, 99_999))


def haystack(count: Callable[[str], int], length: int, depth: float, key: str) -> Haystack:
    """The longest such text with at most `length` tokens by `count`, the key at `depth` (0 to 1).

    Raises:
        DataError: not even the question is that short.
    """
    least = count(_text(0, depth, key))
    if least > length:
        raise DataError(f"{length:,} tokens are too few: the question alone has {least:,}. Take longer lengths.")
    low, high = 0, 8
    while count(_text(high, depth, key)) <= length:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(_text(middle, depth, key)) <= length else (low, middle)
    text = _text(low, depth, key)
    return Haystack(text, text.index(key), count(text))


def key_found(answer: str, key: str) -> bool:
    """Whether the first number of an answer is exactly the key."""
    first = _NUMBER.search(answer)
    return first is not None and first[0] == key


def _text(sentences: int, depth: float, key: str) -> str:
    before = round(sentences * depth)
    filling = [FILLING[index % len(FILLING)] for index in range(sentences)]
    parts = [_TASK, " ".join(filling[:before]), _NEEDLE.format(key=key), " ".join(filling[before:]), _QUESTION]
    return "\n".join(part for part in parts if part)
