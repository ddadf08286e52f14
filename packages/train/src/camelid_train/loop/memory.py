"""Bytes of the trainable parameters and of AdamW's optimizer state. Knows parameters; measures nothing."""

from __future__ import annotations

from typing import Any


def trainable_bytes(model: Any) -> int:
    """The size of all parameters that require gradients, in bytes."""
    return sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


def optimizer_bytes(model: Any) -> int:
    """The optimizer state of AdamW, in bytes: two moments for each trainable parameter."""
    return 2 * trainable_bytes(model)
