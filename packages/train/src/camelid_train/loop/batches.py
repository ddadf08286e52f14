"""Batching: examples → padded batches, shuffled every epoch, one shard for each rank.

Knows lengths and order. Right padding without an attention mask is exact for causal models: no position attends to
its right, and padded positions have no label.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from camelid_core.tokenization.encoder import IGNORE, Example


class StepBatches:
    """Batch sampler: index batches in random order; another every epoch, the same for the same seed.

    Which rows make an optimizer step does not depend on their lengths: length goes with the kind of task, and steps of
    one kind each teach less (`docs/decisions/0009-order-of-rows.md`). Within a step rows of like length go together.
    `accumulation` batches from each of `world_size` processes make an optimizer step (gradient accumulation); these are
    the batches of `rank`. Which rows a step takes depends on the global batch, not on how it is divided: one process
    with one large batch and several with many small batches see the same rows in the same steps. What does not fill a
    step comes last, and a rank for which nothing is left of it gets an empty batch.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        seed: int,
        accumulation: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.accumulation = accumulation
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(len(self.lengths), self._global_micro_batch * self.accumulation)
        return full * self.accumulation - (-rest // self._global_micro_batch)

    def __iter__(self) -> Iterator[list[int]]:
        size = self._global_micro_batch
        for step in self._steps():
            for start in range(0, len(step), size):
                yield step[start : start + size][self.rank :: self.world_size]

    @property
    def _global_micro_batch(self) -> int:
        """Rows of one forward pass, in all processes together."""
        return self.batch_size * self.world_size

    def _steps(self) -> list[list[int]]:
        indices = list(range(len(self.lengths)))
        random.Random(f"{self.seed}/{self.epoch}").shuffle(indices)
        size = self._global_micro_batch * self.accumulation
        return [self._longest_first(indices[start : start + size]) for start in range(0, len(indices), size)]

    def _longest_first(self, indices: list[int]) -> list[int]:
        return sorted(indices, key=self.lengths.__getitem__, reverse=True)


def batches_by_length(examples: Sequence[Example], batch_size: int) -> Iterator[list[Example]]:
    """Batches for evaluation, longest first, so that a memory limit shows at once."""
    return ([examples[row] for row in rows] for rows in rows_by_length(examples, batch_size))


def rows_by_length(examples: Sequence[Example], batch_size: int) -> Iterator[list[int]]:
    """The same as numbers of rows."""
    order = sorted(range(len(examples)), key=lengths_of(examples).__getitem__, reverse=True)
    starts = range(0, len(order), batch_size)
    return (order[start : start + batch_size] for start in starts)


def lengths_of(examples: Sequence[Example]) -> list[int]:
    """The tokens of each example; rows on disk are not read for it."""
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
