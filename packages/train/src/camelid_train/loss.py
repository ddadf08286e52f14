"""Cross-entropy at the labelled positions only.

Knows hidden states and the output layer. The output layer is the widest of a small model, and most
positions have no label; a hook hands it just the rows that do, for any architecture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from camelid_core.tokenizing import IGNORE
from torch.nn import functional

from .batching import Collator, by_length


def label_loss(model: Any, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum of the cross-entropy over all labelled positions, in float32.

    `input_ids` and `labels` have shape (rows, length), padded on the right. Virtual tokens that a method puts
    before a row come out in front of it: only the last `length` positions are the row's own.
    """
    targets = functional.pad(labels[:, 1:], (0, 1), value=IGNORE)
    wanted = targets != IGNORE
    head = model.get_output_embeddings()
    length = labels.shape[1]
    hook = head.register_forward_pre_hook(lambda _, inputs: (inputs[0][:, -length:][wanted], *inputs[1:]))
    try:
        logits = model(input_ids=input_ids, use_cache=False).logits
    finally:
        hook.remove()
    return functional.cross_entropy(logits.float(), targets[wanted], reduction="sum")


@torch.no_grad()
def mean_loss(model: Any, examples: Sequence[Any], pad_id: int, batch_size: int) -> float:
    """Mean loss per labelled token; the model is left in the mode it was in."""
    was_training, collate = model.training, Collator(pad_id)
    model.eval()
    total, count = 0.0, 0
    for batch in by_length(examples, batch_size):
        tensors = {name: tensor.to(model.device) for name, tensor in collate(batch).items()}
        total += float(label_loss(model, **tensors))
        count += int((tensors["labels"][:, 1:] != IGNORE).sum())
    model.train(was_training)
    return total / max(count, 1)
