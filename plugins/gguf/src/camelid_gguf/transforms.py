"""What is done with tensors that lie otherwise in llama.cpp than in Transformers.

Each takes the tensor, the number of heads that its rows belong to, and gives one of the same shape. Only rows are moved
or values shifted: columns, which an importance matrix counts, stay where they are. Knows tensors. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Transform = Callable[[Any, int], Any]


def rotary_pairs(tensor: Any, heads: int) -> Any:
    """Of each head, the two halves that rotary positions turn against each other, put in turn: LLaMA's own order.

    Transformers turns row i with row i + half, llama.cpp row 2i with row 2i + 1.
    """
    halves = tensor.reshape(heads, 2, -1, *tensor.shape[1:])
    return halves.transpose(1, 2).reshape(tensor.shape)


def qkv_by_kind(tensor: Any, heads: int) -> Any:
    """Queries of all heads, then keys, then values; GPT-NeoX and BLOOM have the three of each head together."""
    by_head = tensor.reshape(heads, 3, -1, *tensor.shape[1:])
    return by_head.transpose(0, 1).reshape(tensor.shape)


def plus_one(tensor: Any, heads: int) -> Any:
    """Gemma multiplies by 1 + weight, llama.cpp by the weight."""
    return tensor + 1
