"""Where a prompt ends, and the positions that follow from it: prefix attention and 2-D rotary positions of GLM.

Knows token ids and counts. Knows nothing of layers and caches.

GLM numbers tokens twice. In the prompt, all before `<sop>`, the first number counts tokens and the second is 0. From
`<sop>` on the first is the place of [gMASK] (or [MASK]), which the answer is written for, and the second counts 1, 2, …
Rotary attention depends on differences alone, so both are moved here by a constant of each row: the first by the place
of the mask, the second by the prompt's length less 1. The answer's tokens then have the numbers (0, their own place in
the row), whatever the prompt was: a token that is generated needs to know its place, and no more.

Source: `get_masks` and `get_position_ids` of modeling_chatglm.py in THUDM/chatglm-6b v1.1.0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from camelid_core.errors import ModelError

CAUSAL = -1
"""Block of a token that attends only to what is before it."""


class RowLayout(NamedTuple):
    """`positions`: both numbers of each token, of shape (rows, 2, tokens). `blocks`: 0 for the tokens of a prompt and
    `CAUSAL` for all others, of shape (rows, tokens); None where there is no prompt."""

    positions: torch.Tensor
    blocks: torch.Tensor | None


def answer_layout(places: torch.Tensor) -> RowLayout:
    """Of tokens that continue an answer; `places` counts a row's tokens from 0, of shape (rows, tokens)."""
    return RowLayout(torch.stack([torch.zeros_like(places), places], dim=1), None)


def row_layout(input_ids: torch.Tensor, places: torch.Tensor, config: Any) -> RowLayout:
    """Of rows that begin here, each with its whole prompt; both tensors have shape (rows, tokens). A row of padding
    alone, which takes part in a step without a label, has no prompt.

    Raises:
        ModelError: a row has no `<sop>`, or no [gMASK] or [MASK] before it.
    """
    columns = torch.arange(input_ids.shape[1], device=input_ids.device)
    ends = input_ids == config.bos_token_id
    end = _first(ends, missing=0)[:, None]
    in_prompt = columns < end
    mask = _mask_column(input_ids, in_prompt, config)
    _check_rows(input_ids, ends, mask, config)
    from_mask = places - places.gather(1, mask.clamp(min=0)[:, None])
    last = places.gather(1, end) - 1
    positions = torch.stack([from_mask.where(in_prompt, 0), last.where(in_prompt, places)], dim=1)
    return RowLayout(positions, torch.zeros_like(input_ids).where(in_prompt, CAUSAL))


def _mask_column(input_ids: torch.Tensor, in_prompt: torch.Tensor, config: Any) -> torch.Tensor:
    """The column of the first [gMASK] of each prompt, or of the first [MASK] where there is none; -1 without either."""
    whole, blank = (
        _first((input_ids == token) & in_prompt, missing=-1) for token in (config.gmask_token_id, config.mask_token_id)
    )
    return whole.where(whole >= 0, blank)


def _first(found: torch.Tensor, missing: int) -> torch.Tensor:
    """The first column of each row where `found` is true."""
    return found.int().argmax(1).where(found.any(1), missing)


def _check_rows(input_ids: torch.Tensor, ends: torch.Tensor, mask: torch.Tensor, config: Any) -> None:
    padding = (input_ids == config.pad_token_id).all(1)
    if bool((((mask >= 0) & ends.any(1)) | padding).all()):
        return
    raise ModelError(
        f"ChatGLM-6B reads a prompt in both directions up to its end, [gMASK] (token {config.gmask_token_id}) and "
        f"<sop> ({config.bos_token_id}). A row without them has no prompt, and would be computed as what it is not."
    )
