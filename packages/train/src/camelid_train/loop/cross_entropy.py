"""Cross-entropy over a large vocabulary in bounded memory.

Knows rows of hidden states or of logits. Chunked: logits in float32, and what is derived from them, exist for one chunk
of rows at a time, whatever the batch. Fused: from hidden states the gradient is computed with the loss.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

_CHUNK = 1 << 25
"""Logits of one chunk: 128 MB in float32. Smaller chunks would read the output layer's weights more often."""


def sum_from_hidden(hidden: torch.Tensor, weight: Any, bias: Any, targets: torch.Tensor) -> torch.Tensor:
    """Sum of the cross-entropy of `hidden @ weight.T + bias`, shape (rows, width), against `targets`, shape (rows,).

    The gradient is computed together with the loss, while the logits exist: they are neither stored nor computed twice.
    """
    return _FromHidden.apply(hidden, weight, bias, targets, torch.is_grad_enabled())


def sum_from_logits(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The same from logits; more than one chunk is cast to float32 again in the backward pass."""
    rows = _rows(logits.shape[-1])
    if len(targets) <= rows:
        return _sum(logits, targets)
    parts = zip(logits.split(rows), targets.split(rows), strict=True)
    return torch.stack([_recomputed_sum(logits, targets) for logits, targets in parts]).sum()


@torch.no_grad()
def losses_from_hidden(hidden: torch.Tensor, weight: Any, bias: Any, targets: torch.Tensor) -> torch.Tensor:
    """The cross-entropy of each row of `hidden` by itself, without a gradient."""
    pieces = zip(hidden.split(_rows(weight.shape[0])), targets.split(_rows(weight.shape[0])), strict=True)
    return torch.cat(
        [_each(functional.linear(part, weight, bias), target) for part, target in pieces] or [_none(hidden)]
    )


@torch.no_grad()
def losses_from_logits(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The same from logits."""
    rows = _rows(logits.shape[-1])
    pieces = zip(logits.split(rows), targets.split(rows), strict=True)
    return torch.cat([_each(part, target) for part, target in pieces] or [_none(logits)])


def _each(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(logits.float(), targets, reduction="none")


def _none(like: torch.Tensor) -> torch.Tensor:
    return torch.zeros(0, dtype=torch.float32, device=like.device)


def _sum(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(logits.float(), targets, reduction="sum")


def _recomputed_sum(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = checkpoint(_sum, logits, targets, use_reentrant=False, preserve_rng_state=False)
    return result


def _rows(vocabulary: int) -> int:
    return max(1, _CHUNK // vocabulary)


class _FromHidden(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: Any, targets: torch.Tensor, learning: bool
    ) -> torch.Tensor:
        needed = [learning and needs for needs in ctx.needs_input_grad[:3]]
        grad_hidden = torch.empty_like(hidden) if needed[0] else None
        grad_weight = torch.zeros_like(weight) if needed[1] else None
        grad_bias = torch.zeros_like(bias) if needed[2] else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        rows = _rows(weight.shape[0])
        for start in range(0, len(hidden), rows):
            part, target = hidden[start : start + rows], targets[start : start + rows, None]
            logs = torch.log_softmax(functional.linear(part, weight, bias).float(), dim=-1)
            total -= logs.gather(1, target).sum()
            if not any(needed):
                continue
            errors = logs.exp_().scatter_add_(1, target, torch.full_like(target, -1, dtype=logs.dtype)).to(part.dtype)
            if grad_hidden is not None:
                grad_hidden[start : start + rows] = errors @ weight
            if grad_weight is not None:
                grad_weight += errors.T @ part
            if grad_bias is not None:
                grad_bias += errors.sum(0)
        ctx.gradients = grad_hidden, grad_weight, grad_bias
        return total

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> Any:
        scaled = (None if each is None else each * scale.to(each.dtype) for each in ctx.gradients)
        return *scaled, None, None
