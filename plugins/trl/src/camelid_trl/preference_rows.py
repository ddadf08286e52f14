"""Tokenised rows with an answer at their end: preference pairs, labelled answers, prompts with a reference answer.

Knows encoded conversations and the cut-off. Knows nothing of trl.
Each row is an `Example` too, of the chosen answer, for code that only looks at training rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from camelid_core.token_cache import CutoffCounts
from camelid_core.token_cache.encoded_dataset import EncodedDataset, RowSequence
from camelid_core.tokenization.encoder import IGNORE, Example

RowT = TypeVar("RowT", bound=Example)


@dataclass(frozen=True, slots=True)
class AnswerExample(Example):
    """`start` is where the last answer begins; everything before it is the prompt."""

    start: int

    @property
    def prompt_ids(self) -> list[int]:
        return self.input_ids[: self.start]

    @property
    def answer_ids(self) -> list[int]:
        return self.input_ids[self.start :]


@dataclass(frozen=True, slots=True)
class PreferencePair(AnswerExample):
    rejected_ids: list[int]


@dataclass(frozen=True, slots=True)
class LabelledAnswer(AnswerExample):
    good: bool


@dataclass(frozen=True, slots=True)
class RewardedPrompt(AnswerExample):
    """`reference` is the reference answer, as text; the reward compares sampled answers with it."""

    reference: str


def last_answer(labels: Sequence[int]) -> tuple[int, int]:
    """Start and end of the last run of trained tokens; what follows is ignored. (0, 0): no token is trained."""
    trained = np.flatnonzero(np.asarray(labels) != IGNORE)
    if not len(trained):
        return 0, 0
    breaks = np.flatnonzero(np.diff(trained) > 1)
    return int(trained[breaks[-1] + 1] if len(breaks) else trained[0]), int(trained[-1]) + 1


class AnswerRows(RowSequence[RowT]):
    """Rows of which each answer begins within `cutoff` tokens, or, where they must be `whole`, ends within them; the
    others are dropped.

    `sides` are encodings of the same rows that differ in the last answer alone.
    """

    def __init__(self, sides: Sequence[EncodedDataset], cutoff: int, whole: bool) -> None:
        spans = np.array([[last_answer(example.labels) for example in side] for side in sides], np.int64)
        spans = spans.reshape(len(sides), len(sides[0]), 2)
        starts, ends = spans[..., 0].min(axis=0), np.minimum(spans[..., 1], cutoff)
        longer = (spans[..., 1] > cutoff).any(axis=0)
        self._sides = sides
        self.numbers = np.flatnonzero((starts < ends).all(axis=0) & ~(longer & whole))
        self._starts, self._ends = starts[self.numbers], ends[:, self.numbers]
        self.lengths = self._ends.max(axis=0)
        refused = int(np.any([side.lengths == 0 for side in sides], axis=0).sum())
        self.counts = CutoffCounts(
            rows=len(sides[0]),
            truncated=0 if whole else int(longer.sum()),
            dropped=len(sides[0]) - len(self.numbers) - refused,
            total_tokens=int(self._ends.sum()),
            trained_tokens=int((self._ends - self._starts).sum()),
            refused=refused,
        )

    @property
    def encoded(self) -> EncodedDataset:
        """The side of which the template renders the fewest rows."""
        return max(self._sides, key=lambda side: side.refused)

    def ids(self, at: int, side: int = 0) -> list[int]:
        """Token ids of a conversation up to the end of its answer."""
        return self._sides[side].row(int(self.numbers[at]), int(self._ends[side, at])).input_ids

    def fields(self, at: int) -> dict[str, Any]:
        """The fields that every row has."""
        ids, start = self.ids(at), int(self._starts[at])
        return {"input_ids": ids, "labels": [IGNORE] * start + ids[start:], "start": start}

    def __len__(self) -> int:
        return len(self.numbers)


class PairRows(AnswerRows[PreferencePair]):
    """Two encodings of each row: with the chosen answer, and with the rejected one."""

    def row(self, at: int) -> PreferencePair:
        return PreferencePair(**self.fields(at), rejected_ids=self.ids(at, 1)[int(self._starts[at]) :])


class LabelledRows(AnswerRows[LabelledAnswer]):
    def __init__(self, sides: Sequence[EncodedDataset], cutoff: int, whole: bool, good: Sequence[bool]) -> None:
        super().__init__(sides, cutoff, whole)
        self.good = [good[number] for number in self.numbers.tolist()]

    def row(self, at: int) -> LabelledAnswer:
        return LabelledAnswer(**self.fields(at), good=self.good[at])


class PromptRows(AnswerRows[RewardedPrompt]):
    def __init__(self, sides: Sequence[EncodedDataset], cutoff: int, whole: bool, references: Sequence[str]) -> None:
        super().__init__(sides, cutoff, whole)
        self.references = [references[number] for number in self.numbers.tolist()]

    def row(self, at: int) -> RewardedPrompt:
        return RewardedPrompt(**self.fields(at), reference=self.references[at])
