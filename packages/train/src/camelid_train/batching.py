"""Examples → padded batches.

Knows lengths and order. Right padding without an attention mask is exact for causal models: no
position looks to its right, and padded positions have no label.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from camelid_core.tokenizing import IGNORE, Example

_WINDOW = 50
"""Batches sorted by length together: wide enough that little is padding, narrow enough that order stays random."""


class LengthBatches:
    """Index batches of rows of similar length; another order every epoch, the same for the same seed."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = random.Random(f"{self.seed}/{self.epoch}")
        indices = list(range(len(self.lengths)))
        order.shuffle(indices)
        window = self.batch_size * _WINDOW
        batches = []
        for start in range(0, len(indices), window):
            part = sorted(indices[start : start + window], key=self.lengths.__getitem__, reverse=True)
            batches += [part[i : i + self.batch_size] for i in range(0, len(part), self.batch_size)]
        order.shuffle(batches)
        return iter(batches)


def by_length(examples: Sequence[Example], batch_size: int) -> Iterator[list[Example]]:
    """Batches for measuring, longest first, so that a memory limit shows at once."""
    order = sorted(range(len(examples)), key=lengths_of(examples).__getitem__, reverse=True)
    starts = range(0, len(order), batch_size)
    return ([examples[index] for index in order[start : start + batch_size]] for start in starts)


def lengths_of(examples: Sequence[Example]) -> list[int]:
    """How long each example is; rows that lie on disk are not read for it."""
    known = getattr(examples, "lengths", None)
    return [len(example.input_ids) for example in examples] if known is None else known.tolist()


class Collator:
    """Examples → `input_ids` and `labels`, int64 tensors of shape (rows, longest)."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        import torch

        longest = max(len(example.input_ids) for example in examples)
        ids = [example.input_ids + [self.pad_id] * (longest - len(example.input_ids)) for example in examples]
        labels = [example.labels + [IGNORE] * (longest - len(example.labels)) for example in examples]
        return {"input_ids": torch.tensor(ids), "labels": torch.tensor(labels)}
