"""Estimate of the memory that a recipe takes: weights, gradients and optimizer state, and activations.

Knows sizes and tuning methods roughly. Loads no weights and imports no torch; the preflight of a run measures exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from camelid_core.models.devices import cpu_has_bf16
from camelid_core.models.dimensions import dimensions
from camelid_core.models.model_size import expert_parameters, parameters, weights_size
from camelid_core.models.resolved_model import ResolvedModel

from camelid_train.config import Recipe

LIBRARY_BYTES = 400 << 20
"""Memory that the libraries themselves take."""
_BYTES_PER_QUANTISED_WEIGHT = {"nf4": 0.55, "int8": 1.05}
"""Bytes per quantised weight, scales included; embeddings and routed experts are not quantised."""
_ALLOWANCE = 1.1
"""Allocators leave gaps."""
_CONTEXT = 800_000_000
"""What CUDA takes of a card for each process, which neither estimates nor measurements count."""


def with_allowance(device: str, size: int, processes: int = 1) -> int:
    """The bytes of a card that a process with such a peak takes, or those of the machine for all processes."""
    return int(size * _ALLOWANCE) + _CONTEXT if device == "cuda" else int(size) * processes


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes: `weights` with gradients and optimizer state, which no smaller batch lowers, and `activations` of a
    micro-batch."""

    weights: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.activations + LIBRARY_BYTES


def estimated_memory(
    recipe: Recipe, model: ResolvedModel, tokens: float, bfloat16: bool | None = None
) -> MemoryEstimate:
    """Activations are reckoned for rows of so many `tokens`, as many numbers per token as the family's layers keep (2
    per layer and dimension with gradient checkpointing), and three per entry of the vocabulary for logits and loss.
    `bfloat16` says whether the device computes in it (None: as this processor does)."""
    size, length = dimensions(model.config), min(recipe.data.cutoff, tokens)
    native = cpu_has_bf16() if bfloat16 is None else bfloat16
    short = recipe.model.dtype in ("bfloat16", "float16") or (recipe.model.dtype == "auto" and native)
    width = 2 if short else 4
    if getattr(recipe.train, "gradient_checkpointing", "auto") == "on":
        numbers = 2.0 * size.layers * size.width
    else:
        numbers = model.adapter.activations.per_token(size, length)
    kept = recipe.train.batch_size * length * (numbers * width + 3 * size.vocabulary * 4)
    weights = _weights(recipe, model.base, size.vocabulary * size.width, width)
    return MemoryEstimate(int(weights), int(kept))


def _weights(recipe: Recipe, base: Path, embeddings: int, width: int) -> float:
    """Bytes of the weights as the method holds them; of trainable ones with gradients and AdamW's two moments."""
    section, count = recipe.method, parameters(base)
    if section.type == "full":
        width = 4 if recipe.model.dtype == "auto" else width
        learning = count if getattr(section, "embeddings", True) else count - embeddings
        return count * width + learning * 3 * width
    if section.type == "lora-gptq":
        return weights_size(base)
    packed = _BYTES_PER_QUANTISED_WEIGHT.get(str(getattr(section, "quantization", "")))
    if packed is not None:
        left = embeddings + expert_parameters(base)
        return max(0, count - left) * packed + left * width
    return count * width
