"""Model FLOPs of training, and from them the model FLOPs utilisation (MFU) of a run.

Knows layers and shapes. Knows nothing of recipes or events.

Per token, a layer's weight matrix of n numbers costs 2n operations forward, 2n for the gradient of its input, and
2n more for its own gradient only where it learns: 6n for full fine-tuning, 4n for a frozen base under adapters.
Attention adds 4·d per pair of positions and layer forward (scores and weighted sum, d = heads × head size) and twice
that backward; a causal model has T(T+1)/2 pairs in a row of T tokens. This is the accounting of Kaplan et al. 2020
(arXiv:2001.08361, §2.1: 6N) and of PaLM (arXiv:2204.02311, appendix B: the attention term and MFU), with three
differences: frozen weights are not charged for gradients that are not computed, the output layer is charged only at
positions with a label (as the loss computes it), and only the causal half of attention counts. Recomputation by
gradient checkpointing does not count; nor does padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .peak_flops import device_peak

_FORWARD = _BACKWARD = _GRADIENT = 2.0


@dataclass(frozen=True, slots=True)
class TrainingFlops:
    """FLOPs of a forward and a backward pass: for each token, each labelled position, and each pair of positions of
    which one attends to the other."""

    token: float
    label: float
    pair: float

    def of(self, tokens: float, labels: float, attention_pairs: float) -> float:
        return self.token * tokens + self.label * labels + self.pair * attention_pairs

    def per_token(self, lengths: Sequence[int], labels: int) -> float:
        """Mean FLOPs per token of rows with these `lengths` and so many labelled positions."""
        tokens = sum(lengths)
        return self.of(tokens, labels, attention_pairs(lengths)) / tokens if tokens else 0.0


def attention_pairs(lengths: Sequence[int]) -> int:
    """Pairs of positions in causal rows of these lengths."""
    return sum(length * (length + 1) // 2 for length in lengths)


def mfu_per_token_rate(
    model: Any, lengths: Sequence[int], labels: int, devices: int = 1, computed: Any = None
) -> float | None:
    """MFU at one token per second; multiplied by the token rate, it is the MFU of a run on `devices` devices whose
    matrix products have the dtype `computed`, else that of the weights. None for a model of unknown layers."""
    try:
        operations = training_flops(model).per_token(lengths, labels)
        width = model.config.get_text_config().hidden_size
        dtype = computed or model.get_input_embeddings().weight.dtype
        return operations / (device_peak(model.device, dtype, width) * devices) or None
    except (AttributeError, TypeError, ZeroDivisionError):
        return None


def training_flops(model: Any) -> TrainingFlops:
    """FLOPs of a forward and backward pass, read from the model's layers: adapters, quantised and tied ones included.

    Of a mixture of experts, the share of experts counts that a token is routed to. Sliding windows are not
    considered: for rows longer than the window, attention is charged too much.
    """
    head = model.get_output_embeddings()
    config = model.config.get_text_config()
    token = label = 0.0
    for module in model.modules():
        for size, learns in _matrices(module, config):
            operations = size * (_FORWARD + _BACKWARD + _GRADIENT * learns)
            if module is head:
                label += operations
            else:
                token += operations
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    return TrainingFlops(token, label, 3 * 4.0 * width * config.num_hidden_layers)


def _matrices(module: Any, config: Any) -> list[tuple[float, bool]]:
    """Size of each weight matrix of this module itself, and whether it is trainable."""
    weight: Any = getattr(module, "weight", None)
    if hasattr(module, "in_features") and hasattr(module, "out_features"):  # Linear, and every quantised stand-in
        if hasattr(module, "base_layer"):
            return []  # peft's wrapper: the layer inside is counted by itself
        return [(module.in_features * module.out_features, _learns(weight))]
    if type(module).__name__ == "Conv1D":  # transformers' transposed Linear
        return [(weight.numel(), _learns(weight))]
    own = [each for each in module.parameters(recurse=False) if each.dim() == 3]  # experts, stacked
    share = _experts_used(config) if own else 1.0
    return [(each.numel() * share, _learns(each)) for each in own]


def _learns(weight: Any) -> bool:
    return bool(getattr(weight, "requires_grad", False))


def _experts_used(config: Any) -> float:
    used = getattr(config, "num_experts_per_tok", None)
    names = ("num_local_experts", "num_experts", "n_routed_experts")
    every = next((getattr(config, name) for name in names if getattr(config, name, None)), None)
    return used / every if used and every else 1.0
