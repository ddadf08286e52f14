"""The gradients of several processes with a whole model each: their mean, once a step's rows went through everywhere.

Knows torch.distributed and parameters. Knows nothing of losses.

DistributedDataParallel exchanges them during the backward pass. A process that runs out of memory in the middle of
that can neither go on nor begin again, and the others wait for it for ever. So each goes through its rows on its own,
in parts as small as it must, and they meet only afterwards. What that costs is the overlap of the two: nothing that
shows for adapters, an all-reduce per step for full fine-tuning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.distributed

_BUCKET = 1 << 24
"""Numbers that travel at once: 64 MB in float32."""


def average_gradients(parameters: Iterable[Any]) -> None:
    """Give each parameter that learns the mean of its gradients; what no process has a gradient for keeps none.

    All processes call this at once, with the same parameters.
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
    """Neighbours of one number format, few enough to travel together."""
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
