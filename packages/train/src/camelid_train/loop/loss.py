"""Training loss and held-out loss: cross-entropy at the labelled positions only.

Knows hidden states and the output layer (LM head). The head is the widest layer of a small model, and most positions
have no label: it gets only those that do, for any architecture. Where its output is the model's output, the loss is
computed inside it and logits are never stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from camelid_core.tokenization.encoder import IGNORE
from torch import nn
from torch.nn import functional

from camelid_train.distributed import group

from .batches import Collator, rows_by_length
from .cross_entropy import losses_from_hidden, losses_from_logits, sum_from_hidden, sum_from_logits
from .row_attention import ROWWISE

_head_is_last: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
"""For each output layer, whether its output is the model's logits."""


def label_loss(
    model: Any,
    input_ids: torch.Tensor,
    labels: torch.Tensor,
    position_ids: torch.Tensor | None = None,
    positions: torch.Tensor | None = None,
    row_lengths: tuple[int, ...] = (),
) -> torch.Tensor:
    """Sum of the cross-entropy over all labelled positions, in float32.

    `input_ids` and `labels` have shape (rows, length), padded on the right, or (1, length) with `position_ids` that
    start anew at each row (packed) and `row_lengths`, which `rowwise` attention takes. Virtual tokens that a method
    puts before a row come out in front of it: only the last `length` positions are the row's own. `positions` is
    `label_positions(labels)`, where that is known already.
    """
    positions = label_positions(labels) if positions is None else positions
    return _at_positions(
        model, input_ids, labels, position_ids, positions, row_lengths, sum_from_hidden, sum_from_logits
    )


def label_losses(model: Any, input_ids: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The cross-entropy at each labelled position of padded rows, without a gradient, and the row that each is in."""
    positions = label_positions(labels)
    losses = _at_positions(model, input_ids, labels, None, positions, (), losses_from_hidden, losses_from_logits)
    return losses, positions // labels.shape[1]


def _at_positions(
    model: Any,
    input_ids: torch.Tensor,
    labels: torch.Tensor,
    position_ids: torch.Tensor | None,
    positions: torch.Tensor,
    row_lengths: tuple[int, ...],
    from_hidden: Callable[..., torch.Tensor],
    from_logits: Callable[..., torch.Tensor],
) -> torch.Tensor:
    """What `from_hidden` or `from_logits` makes of the positions, inside the output layer or after it."""
    targets = functional.pad(labels[:, 1:], (0, 1), value=IGNORE).flatten()[positions]
    head = getattr(model, "module", model).get_output_embeddings()  # of what DistributedDataParallel wraps
    inputs: dict[str, Any] = {"input_ids": input_ids} | ({} if position_ids is None else {"position_ids": position_ids})
    if row_lengths and _is_rowwise(model):
        inputs["row_lengths"] = row_lengths

    def rows(hidden: torch.Tensor) -> torch.Tensor:
        return hidden[:, -labels.shape[1] :].flatten(0, 1)[positions]

    if _ends_with_head(model, head):
        with _replaced_forward(head, lambda hidden: from_hidden(rows(hidden), head.weight, head.bias, targets)):
            return model(**inputs, use_cache=False).logits
    hook = head.register_forward_pre_hook(lambda _, inputs: (rows(inputs[0]), *inputs[1:]))
    try:
        return from_logits(model(**inputs, use_cache=False).logits, targets)
    finally:
        hook.remove()


def _is_rowwise(model: Any) -> bool:
    return getattr(model, "module", model).config._attn_implementation == ROWWISE


def label_positions(labels: torch.Tensor) -> torch.Tensor:
    """The positions whose next token has a label, counted through all rows."""
    return (functional.pad(labels[:, 1:], (0, 1), value=IGNORE) != IGNORE).flatten().nonzero()[:, 0]


def _ends_with_head(model: Any, head: Any) -> bool:
    """Whether `head` is a plain linear layer and the model's last (some models scale its output, or cap it)."""
    if head not in _head_is_last:
        plain = type(head).forward is nn.Linear.forward  # so is a sharded one
        _head_is_last[head] = plain and "forward" not in vars(head) and _head_gives_logits(model, head)
    return _head_is_last[head]


@torch.no_grad()
def _head_gives_logits(model: Any, head: Any) -> bool:
    seen: list[torch.Tensor] = []
    hook = head.register_forward_hook(lambda _, __, output: seen.append(output.clone()))
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):  # dropout must not notice
            whole = getattr(model, "module", model)
            ids = whole.dummy_inputs["input_ids"][:1].to(head.weight.device)  # what this architecture can read
            logits = whole(input_ids=ids, use_cache=False).logits
    finally:
        hook.remove()
    return len(seen) == 1 and torch.equal(seen[0].float(), logits.float())


@contextmanager
def _replaced_forward(layer: Any, forward: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    layer.forward = forward
    try:
        yield
    finally:
        del layer.forward


@dataclass(frozen=True, slots=True)
class RowLoss:
    """A held-out row's number, the sum of its loss over its labelled tokens, and how many those are."""

    row: int
    loss: float
    tokens: int


@torch.no_grad()
def row_losses(
    model: Any,
    examples: Sequence[Any],
    pad_id: int,
    batch_size: int,
    raise_if_interrupted: Callable[[], None] = lambda: None,
) -> list[RowLoss]:
    """The loss of each row, in their order; the model keeps its train or eval mode. `raise_if_interrupted` is called
    before each batch."""
    was_training, collate = model.training, Collator(pad_id)
    model.eval()
    found: list[RowLoss] = []
    for batch, counts in group.shard_with_padding(rows_by_length(examples, batch_size)):
        raise_if_interrupted()
        tensors = collate([examples[row] for row in batch])
        losses, rows = label_losses(model, **{name: tensor.to(model.device) for name, tensor in tensors.items()})
        if counts:
            sums = torch.zeros(len(batch), dtype=torch.float64, device="cpu")
            sums.index_add_(0, rows.cpu(), losses.double().cpu())
            tokens = torch.bincount(rows.cpu(), minlength=len(batch)).tolist()
            found += [RowLoss(*each) for each in zip(batch, sums.tolist(), tokens, strict=True)]
    model.train(was_training)
    everywhere = [each for part in group.gather_objects(found) for each in part]
    return sorted(everywhere, key=lambda each: each.row)


def mean_loss(
    model: Any,
    examples: Sequence[Any],
    pad_id: int,
    batch_size: int,
    raise_if_interrupted: Callable[[], None] = lambda: None,
) -> float:
    """Mean loss per labelled token of all rows."""
    return mean_of(row_losses(model, examples, pad_id, batch_size, raise_if_interrupted))


def mean_of(rows: Sequence[RowLoss]) -> float:
    """Mean loss per labelled token."""
    return math.fsum(each.loss for each in rows) / max(sum(each.tokens for each in rows), 1)
