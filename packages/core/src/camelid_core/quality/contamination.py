"""Contamination (decontamination): training rows that share an n-gram of words with an evaluation set.

Knows n-grams of words (Chinese by the character) and which evaluation row they come from.
Knows nothing of benchmarks. Memory is bounded: 12–24 bytes for each n-gram of the evaluation set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b

from camelid_core.errors import DataError
from camelid_core.records import Record

from .near_duplicates import words
from .row_keys import KeyMap, int_from_digest
from .row_lints import Lint

NGRAM = 13
"""Length of an n-gram that two texts rarely share by chance (13, as in the GPT-3 paper)."""
MAX_NGRAMS = 20_000_000


class ContaminationIndex:
    """The n-grams of an evaluation set, to compare training rows with.

    A text shorter than n words is one n-gram of its own: it is found where a whole message equals it.

    Raises:
        DataError: the evaluation set is empty or has more than `MAX_NGRAMS` n-grams.
    """

    def __init__(self, against: Iterable[Record], n: int = NGRAM) -> None:
        self.n = n
        self.rows = 0
        self._runs = KeyMap()
        for self.rows, record in enumerate(against, 1):
            for run in self._ngrams(record):
                self._runs.put(_key(run), self.rows)
            if len(self._runs) > MAX_NGRAMS:
                raise DataError(
                    f"the evaluation set has over {MAX_NGRAMS:,} runs of {n} words by row {self.rows:,}; "
                    "compare with a part of it."
                )
        if not len(self._runs):
            raise DataError("the evaluation set holds no text to compare with.")

    def find(self, record: Record) -> str:
        for run in self._ngrams(record):
            row = self._runs.get(_key(run))
            if row >= 0:
                return f"shares {len(run)} words with row {row} of the evaluation set: {' '.join(run)!r}"
        return ""

    def lint(self) -> Lint:
        """As a lint, to be counted and dropped like any other."""
        return Lint("contamination", f"A run of {self.n} words of the evaluation set.", self.find)

    def _ngrams(self, record: Record) -> Iterator[list[str]]:
        for message in record.messages:
            for text in (message.content, message.context):
                tokens = words(text)
                if len(tokens) < self.n:
                    # A short answer ("yes", "42") is shared by chance; a short question hardly.
                    if message.role == "user" and len(tokens) >= min(5, self.n):
                        yield tokens
                    continue
                for start in range(len(tokens) - self.n + 1):
                    yield tokens[start : start + self.n]


def _key(run: list[str]) -> int:
    return int_from_digest(blake2b(" ".join(run).encode("utf-8", "surrogatepass"), digest_size=8).digest())
