"""Writing a converted checkpoint whose architecture is LLaMA's: its configuration, and rules for tensors that keep
their meaning under LLaMA's names.

Knows LLaMA as Transformers has it. Knows nothing of the formats that are converted: they say which of their tensors is
which. Imports Transformers inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError

from .original_weights import OriginalWeights
from .tensor_rules import TensorRule, renamed

ROTARY_BUFFERS = r".*\.rotary_emb\.(inv_freq|cos_cached|sin_cached)"
"""Original tensors that carry nothing: they follow from the configuration."""
_SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


@dataclass(frozen=True, slots=True)
class LlamaSizes:
    """The sizes that tensors' shapes follow from. `head` is the width of a head, `kv_heads` how many heads keys and
    values have."""

    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> LlamaSizes:
        """Raises ModelError: a size is missing, or no positive number."""
        vocabulary, hidden, intermediate, layers, heads = (positive_number(config, name) for name in _SIZES)
        kv_heads = positive_number(config, "num_key_value_heads") if config.get("num_key_value_heads") else heads
        head = positive_number(config, "head_dim") if config.get("head_dim") else hidden // heads
        if (not config.get("head_dim") and hidden % heads) or heads % kv_heads:
            raise ModelError(
                f"config.json has hidden_size {hidden}, num_attention_heads {heads} and num_key_value_heads "
                f"{kv_heads}, which do not divide. Copy it again."
            )
        return cls(vocabulary, hidden, intermediate, layers, heads, kv_heads, head)


@dataclass(frozen=True, slots=True)
class LayerNames:
    """What an original calls the tensors of a layer that are kept as they are; `layer` has the layer's number at
    `{}`."""

    layer: str = "model.layers.{}"
    attention_norm: str = "input_layernorm"
    mlp_norm: str = "post_attention_layernorm"
    gate: str = "mlp.gate_proj"
    up: str = "mlp.up_proj"
    down: str = "mlp.down_proj"
    embeddings: str = "model.embed_tokens"
    norm: str = "model.norm"
    head: str = "lm_head"


def positive_number(config: Mapping[str, Any], name: str) -> int:
    """Raises ModelError: no positive whole number of that name."""
    value = config.get(name)
    if type(value) is not int or value <= 0:
        raise ModelError(f"config.json has {name} {value!r}; it must be a positive whole number. Copy it again.")
    return value


def kept_rules(names: LayerNames, sizes: LlamaSizes, number: int) -> Iterator[TensorRule]:
    """Rules for norms and feed-forward network of layer `number`."""
    source, target = names.layer.format(number), f"model.layers.{number}"
    for ours, theirs in (("input_layernorm", names.attention_norm), ("post_attention_layernorm", names.mlp_norm)):
        yield renamed(f"{source}.{theirs}.weight", f"{target}.{ours}.weight", sizes.hidden)
    for ours, theirs in (("gate_proj", names.gate), ("up_proj", names.up)):
        yield renamed(f"{source}.{theirs}.weight", f"{target}.mlp.{ours}.weight", sizes.intermediate, sizes.hidden)
    yield renamed(f"{source}.{names.down}.weight", f"{target}.mlp.down_proj.weight", sizes.hidden, sizes.intermediate)


def end_rules(names: LayerNames, sizes: LlamaSizes) -> tuple[TensorRule, TensorRule, TensorRule]:
    """Rules for input embeddings, final norm and head."""
    table = (sizes.vocabulary, sizes.hidden)
    return (
        renamed(f"{names.embeddings}.weight", "model.embed_tokens.weight", *table),
        renamed(f"{names.norm}.weight", "model.norm.weight", sizes.hidden),
        renamed(f"{names.head}.weight", "lm_head.weight", *table),
    )


def layer_rules(rules: Iterable[TensorRule]) -> list[TensorRule]:
    """Those of the layers, which are what LoRA can be on: `adapter_rules` of a converter."""
    return [rule for rule in rules if ".layers." in next(iter(rule.sources))]


def write_llama_config(
    config: Mapping[str, Any], sizes: LlamaSizes, weights: OriginalWeights, output: Path, **settings: Any
) -> None:
    """Write the `config.json` of a LLaMA model; `settings` are what the original's configuration does not have by
    LLaMA's names."""
    from transformers import LlamaConfig

    kept = ("hidden_act", "rms_norm_eps", "initializer_range", "bos_token_id", "eos_token_id", "pad_token_id")
    made = LlamaConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.hidden,
        intermediate_size=sizes.intermediate,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.kv_heads,
        head_dim=sizes.head,
        tie_word_embeddings=False,
        **{name: config[name] for name in kept if name in config},
        **settings,
    )
    made.architectures = ["LlamaForCausalLM"]
    made.dtype = weights.dtype(weights.names[0])
    made.save_pretrained(output)


def check_untied(config: Mapping[str, Any]) -> None:
    """Raise ModelError for a model whose head is its input embeddings: the converted formats have one of their own."""
    if config.get("tie_word_embeddings"):
        raise ModelError("config.json has tie_word_embeddings true, which this format never had. Copy it again.")
