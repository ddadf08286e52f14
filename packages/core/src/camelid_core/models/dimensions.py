"""Sizes of a model by its configuration, whatever its family calls them, and the numbers a training step keeps of them.

Knows the names of sizes in Transformers' configurations. Knows no family: what differs is on its adapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_WIDTH = ("hidden_size", "n_embd", "d_model")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_FEED_FORWARD = ("intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner")
_EXPERT = ("moe_intermediate_size", "intermediate_size")
_EXPERTS_PER_TOKEN = ("num_experts_per_tok", "num_experts_per_token", "moe_topk")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
_SHARED = ("shared_expert_intermediate_size", "shared_intermediate_size")


@dataclass(frozen=True, slots=True)
class Dimensions:
    """`feed_forward` are the inner dimensions that a token goes through in a layer: in a mixture of experts, those of
    the experts it is sent to and of shared ones; `all_experts` are those of all experts. 0 where the configuration does
    not say."""

    layers: int
    width: int
    heads: int
    feed_forward: int
    all_experts: int
    vocabulary: int


def dimensions(config: Mapping[str, Any]) -> Dimensions:
    """The sizes of the language model; of one that also sees, those of its text part."""
    text = config.get("text_config")
    values = {**config, **text} if isinstance(text, Mapping) else config
    width = _first(values, _WIDTH)
    return Dimensions(
        layers=_first(values, _LAYERS),
        width=width,
        heads=_first(values, _HEADS),
        feed_forward=_active_experts(values) or _first(values, _FEED_FORWARD) or 4 * width,
        all_experts=_first(values, _EXPERTS) * _first(values, _EXPERT),
        vocabulary=_first(values, ("vocab_size",)),
    )


def _active_experts(values: Mapping[str, Any]) -> int:
    each = _first(values, _EXPERT)
    shared = _first(values, _SHARED) or _first(values, ("n_shared_experts",)) * each
    return _first(values, _EXPERTS_PER_TOKEN) * each + shared


def _first(values: Mapping[str, Any], names: tuple[str, ...]) -> int:
    return int(next((values[name] for name in names if isinstance(values.get(name), int)), 0))


@dataclass(frozen=True, slots=True)
class Activations:
    """How many numbers a layer keeps of each token for the backward pass of LoRA: so many for each dimension of the
    model (`width`), for each inner dimension of the feed-forward blocks that the token goes through, and for each head
    and token of the row (`square`: attention that no fused kernel computes keeps its scores). `through_all` says that
    every token goes through all experts, whose results are then weighted.

    Counted with `torch.autograd.graph.saved_tensors_hooks`, not reckoned; a mixture with two experts per token.
    """

    width: float = 7.5
    feed_forward: float = 3.0
    square: float = 0.0
    through_all: bool = False

    def per_token(self, size: Dimensions, length: float) -> float:
        """Numbers per token in all layers, in rows of `length` tokens."""
        feed_forward = size.all_experts if self.through_all else size.feed_forward
        inner = self.width * size.width + self.feed_forward * feed_forward
        return size.layers * (inner + self.square * size.heads * length)
