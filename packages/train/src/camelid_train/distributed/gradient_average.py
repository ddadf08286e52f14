"""Data parallelism: gradients averaged over all processes by all-reduce, after the backward passes of an optimizer
step.

Knows torch.distributed and parameters. Knows nothing of losses.

DistributedDataParallel reduces them during the backward pass. A process that runs out of memory in the middle of that
can neither continue nor start again, and the others wait for it for ever. So each computes its rows on its own, in
micro-batches as small as it must, and they synchronise only afterwards. What that costs is the overlap of the two:
nothing measurable for adapters, an all-reduce per step for full fine-tuning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.distributed

_BUCKET = 1 << 24
"""Numbers of one all-reduce: 64 MB in float32."""


def average_gradients(parameters: Iterable[Any]) -> None:
    """Set the gradient of each trainable parameter to its mean over all processes; one without any keeps none.

    All processes call this together, with the same parameters.
    """
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    if not trainable:
        return
    mine = torch.tensor([parameter.grad is not None for parameter in trainable], dtype=torch.uint8)
    anyone = mine.to(trainable[0].device)
    torch.distributed.all_reduce(anyone, torch.distributed.ReduceOp.MAX)
    with_gradient = [parameter for parameter, found in zip(trainable, anyone.tolist(), strict=True) if found]
    for bucket in _buckets(with_gradient):
        _all_reduce(bucket)


def _buckets(parameters: Iterable[Any]) -> Iterator[list[Any]]:
    """Buckets: neighbouring parameters of one dtype, few enough for one all-reduce."""
    bucket: list[Any] = []
    count = 0
    for parameter in parameters:
        if bucket and (parameter.dtype != bucket[0].dtype or count + parameter.numel() > _BUCKET):
            yield bucket
            bucket, count = [], 0
        bucket.append(parameter)
        count += parameter.numel()
    if bucket:
        yield bucket


def _all_reduce(bucket: list[Any]) -> None:
    gradients = [parameter.grad for parameter in bucket]
    flat = torch.cat([
        (torch.zeros_like(parameter) if gradient is None else gradient).flatten()
        for parameter, gradient in zip(bucket, gradients, strict=True)
    ])  # fmt: skip
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    for parameter, part in zip(bucket, flat.split([parameter.numel() for parameter in bucket]), strict=True):
        if parameter.grad is None:
            parameter.grad = torch.empty_like(parameter)
        parameter.grad.copy_(part.view_as(parameter))
