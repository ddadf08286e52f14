"""Sequence packing (padding-free): padded rows → the same rows in one sequence, without the padding.

Knows positions and labels. A varlen attention kernel sees from positions that start anew where a row begins; which
rows make a batch, and so what is learned, stays the same.
"""

from __future__ import annotations

from typing import Any

import torch
from camelid_core.tokenization.encoder import IGNORE

from .row_attention import ROWWISE

_TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 5e-2}
"""How far results may differ by rounding, in standard deviations."""


def row_lengths(input_ids: torch.Tensor, labels: torch.Tensor, pad_id: int) -> torch.Tensor:
    """Tokens of each row; padding on the right does not count, the padding token within a row does."""
    used = (input_ids != pad_id) | (labels != IGNORE)
    return (used * torch.arange(1, used.shape[1] + 1, device=used.device)).amax(1)


def pack_rows(input_ids: torch.Tensor, labels: torch.Tensor, lengths: torch.Tensor) -> dict[str, Any]:
    """`input_ids`, `labels` and `position_ids` of shape (1, tokens), and the rows' lengths as plain numbers. The last
    token of a row does not predict the first of the next."""
    places = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
    lengths = lengths.clamp(min=1)
    kept = places < lengths[:, None]
    labels = labels.masked_fill(places == 0, IGNORE)
    return {
        "input_ids": input_ids[kept][None],
        "labels": labels[kept][None],
        "position_ids": places[kept][None],
        "row_lengths": tuple(lengths.tolist()),
    }


@torch.no_grad()
def is_packing_exact(model: Any) -> bool:
    """Whether packed rows give the logits that each gives alone: tried, since it takes a model that reads positions,
    masks by them, and carries nothing else from one position to the next (no recurrent state)."""
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        return False  # virtual tokens stand before each row of the batch, and there would be one
    was_training, device = model.training, model.device
    count = min(model.config.get_text_config().vocab_size, 64)
    rows = [torch.arange(length, device=device)[None] * 7 % count for length in (9, 6)]
    positions = torch.cat([torch.arange(row.shape[1], device=device)[None] for row in rows], dim=1)
    model.eval()
    try:
        alone = torch.cat([model(input_ids=row, use_cache=False).logits for row in rows], dim=1).float()
        whole = torch.cat(rows, dim=1)
        rowwise = getattr(model, "module", model).config._attn_implementation == ROWWISE
        lengths = {"row_lengths": tuple(row.shape[1] for row in rows)} if rowwise else {}  # as in training
        packed = model(input_ids=whole, position_ids=positions, use_cache=False, **lengths).logits.float()
    except TypeError:  # takes no positions
        return False
    finally:
        model.train(was_training)
    tolerance = _TOLERANCE.get(next(model.parameters()).dtype, 5e-2)
    return bool((alone - packed).abs().max() <= tolerance * alone.std())
