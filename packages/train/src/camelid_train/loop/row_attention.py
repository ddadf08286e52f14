"""Attention over packed rows, one row after the other: where no varlen kernel (flash attention) is available.

Knows transformers' attention functions. Knows nothing of batches. All else in a model sees one long row without
padding, so a batch of rows of any lengths costs what its tokens cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ROWWISE = "rowwise"
"""What transformers calls it here; whatever comes without `row_lengths` gets torch's own attention."""


def attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    row_lengths: tuple[int, ...] = (),
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """`query`, `key` and `value` have shape (1, heads, tokens, size); `row_lengths` add up to the tokens."""
    if not row_lengths or max(row_lengths) > (_window(module, options) or max(row_lengths)):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    rows = zip(*(tensor.split(row_lengths, dim=2) for tensor in (query, key, value)), strict=True)
    return torch.cat([sdpa_attention_forward(module, *row, None, **options)[0] for row in rows], dim=1), None


def _window(module: Any, options: Mapping[str, Any]) -> int | None:
    """How far this layer's attention reaches, as it says; some have their window from the mask alone, which then must
    be used: theirs is in the configuration."""
    if "sliding_window" in options:
        return options["sliding_window"] or None
    return getattr(module.config, "sliding_window", None) if hasattr(module, "config") else None


AttentionInterface.register(ROWWISE, attention)
AttentionMaskInterface.register(ROWWISE, sdpa_mask)
