"""Examples → padded batches.

Knows lengths and order. Right padding without an attention mask is exact for causal models: no
position looks to its right, and padded positions have no label.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from camelid_core.tokenization.encoder import IGNORE, Example


class StepBatches:
    """Index batches in random order; another every epoch, the same for the same seed.

    Which rows make an optimizer step does not depend on their lengths: length goes with the kind of task, and steps of
    one kind each teach less (`docs/decisions/0009-order-of-rows.md`). Within a step rows of like length go together.
    `accumulation` batches from each of `parts` processes make an optimizer step; `part` is the process whose batches
    these are. Which rows a step takes depends on how many they are, not on how they are shared out: one process
    that takes them all at once and several in many small batches see the same rows in the same steps. What does not
    fill a step comes last, and a process for which nothing is left of it gets an empty batch.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        seed: int,
        accumulation: int = 1,
        part: int = 0,
        parts: int = 1,
    ) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.accumulation = accumulation
        self.part = part
        self.parts = parts
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(len(self.lengths), self._at_once * self.accumulation)
        return full * self.accumulation - (-rest // self._at_once)

    def __iter__(self) -> Iterator[list[int]]:
        at_once = self._at_once
        for step in self._steps():
            for start in range(0, len(step), at_once):
                yield step[start : start + at_once][self.part :: self.parts]

    @property
    def _at_once(self) -> int:
        """Rows that go through the model at once, in all processes together."""
        return self.batch_size * self.parts

    def _steps(self) -> list[list[int]]:
        indices = list(range(len(self.lengths)))
        random.Random(f"{self.seed}/{self.epoch}").shuffle(indices)
        size = self._at_once * self.accumulation
        return [self._longest_first(indices[start : start + size]) for start in range(0, len(indices), size)]

    def _longest_first(self, indices: list[int]) -> list[int]:
        return sorted(indices, key=self.lengths.__getitem__, reverse=True)


def batches_by_length(examples: Sequence[Example], batch_size: int) -> Iterator[list[Example]]:
    """Batches for measuring, longest first, so that a memory limit shows at once."""
    order = sorted(range(len(examples)), key=lengths_of(examples).__getitem__, reverse=True)
    starts = range(0, len(order), batch_size)
    return ([examples[index] for index in order[start : start + batch_size]] for start in starts)


def lengths_of(examples: Sequence[Example]) -> list[int]:
    """How long each example is; rows that lie on disk are not read for it."""
    known = getattr(examples, "lengths", None)
    return [len(example.input_ids) for example in examples] if known is None else known.tolist()


class Collator:
    """Examples → `input_ids` and `labels`, int64 tensors of shape (rows, longest). Of no examples: a row of padding,
    so that a process with nothing to do still takes part in the step."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        import torch

        examples = examples or [Example([self.pad_id] * 2, [IGNORE] * 2)]
        longest = max(len(example.input_ids) for example in examples)
        ids = [example.input_ids + [self.pad_id] * (longest - len(example.input_ids)) for example in examples]
        labels = [example.labels + [IGNORE] * (longest - len(example.labels)) for example in examples]
        return {"input_ids": torch.tensor(ids), "labels": torch.tensor(labels)}
