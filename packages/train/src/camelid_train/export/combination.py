"""Combining what several adapters changed in one weight: a weighted sum, TIES, DARE, or the largest changes alone.

The formulas are PEFT's, applied to whole changes of a weight instead of to LoRA's factors, which no rank then limits:
ties is arXiv:2306.01708, dare arXiv:2311.03099. Knows tensors. Knows nothing of layers or files.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .merge_config import MergeConfig


def combined(changes: Sequence[Any], weights: Sequence[float], config: MergeConfig, name: str) -> Any:
    """One change of the weight `name`, from one per adapter, all of its shape. What dare drops depends on the seed and
    the name alone."""
    import torch
    from peft.utils import merge_utils

    shares = torch.tensor(weights)
    if config.combine == "sum" or len(changes) == 1:
        return merge_utils.task_arithmetic(list(changes), shares)
    functions = {
        "ties": merge_utils.ties,
        "dare": merge_utils.dare_linear,
        "dare-ties": merge_utils.dare_ties,
        "magnitude": merge_utils.magnitude_prune,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.dare_seed + zlib.crc32(name.encode()))
        return functions[config.combine](list(changes), shares, config.density)
