"""Language identification: which languages rows are in, from a sample that is classified at the end.

Knows sampling and py3langid. Knows nothing of lints. Needs `camelid-core[quality]`.
"""

from __future__ import annotations

import random
from collections import Counter

from camelid_core.records import Record

from .optional_packages import require_extra

SAMPLE = 2000
"""Sample size: enough for shares within two percentage points."""
_HEAD = 400
_MIN_LETTERS = 12
"""A text with fewer letters tells nothing about its language."""


class LanguageSample:
    """An even sample of the rows seen so far, however many there are (reservoir sampling)."""

    def __init__(self, size: int = SAMPLE, seed: int = 0) -> None:
        self._size = size
        self._texts: list[str] = []
        self._seen = 0
        self._random = random.Random(seed).random

    def add(self, record: Record) -> None:
        self._seen += 1
        if len(self._texts) < self._size:
            self._texts.append(_text(record))
            return
        place = int(self._random() * self._seen)
        if place < self._size:
            self._texts[place] = _text(record)

    def shares(self) -> dict[str, float]:
        """Language code → share of the sample, most first; `und` for texts too short to tell.

        Raises:
            MissingPackage: py3langid is not installed.
        """
        classify = require_extra("py3langid", "telling languages apart").classify
        counts: Counter[str] = Counter(
            classify(text)[0] if sum(map(str.isalpha, text)) >= _MIN_LETTERS or not text.isascii() else "und"
            for text in self._texts
        )
        return {code: round(count / len(self._texts), 4) for code, count in counts.most_common()}


def _text(record: Record) -> str:
    """The beginning of the question and of the answer, or of a text."""
    if record.is_text:
        return record.messages[0].content[:_HEAD]
    question = next((message.text for message in record.messages if message.role == "user"), "")
    return f"{question[: _HEAD // 2]}\n{record.answer[: _HEAD // 2]}"
