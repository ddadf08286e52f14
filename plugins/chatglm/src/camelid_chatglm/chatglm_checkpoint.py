"""Converts ChatGLM-6B (the first one): its tensors keep their names and values, its settings get standard names.

Knows the original `config.json`. Source: configuration_chatglm.py of THUDM/chatglm-6b v1.1.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.json_files import object_in
from camelid_core.models.checkpoint_converters import ConversionProgress, Converted
from camelid_core.models.llama_target import positive_number
from camelid_core.models.original_weights import OriginalWeights
from camelid_core.models.tensor_rules import TensorRule, convert_weights, renamed

from .ice_tokenizer import GMASK, MASK, SOP, ice_model, save_ice_tokenizer, token_id
from .variants import refuse_variants

_HEAD, _TABLE = "lm_head.weight", "transformer.word_embeddings.weight"
_FREQUENCIES = r"transformer\.layers\.\d+\.attention\.rotary_emb\.inv_freq"


def convert(source: Path, output: Path, progress: ConversionProgress) -> Converted:
    """The function of converter `chatglm-1`.

    Raises:
        ModelError: a variant that is no plain ChatGLM-6B, or files that do not go together.
    """
    original = object_in(source / "config.json")
    refuse_variants(original)
    if original.get("position_encoding_2d") is False:
        raise ModelError("position_encoding_2d is false in config.json: that is no ChatGLM-6B.")
    weights, model = OriginalWeights(source), ice_model(source)
    config = _config(original, {name: token_id(model, name) for name in (MASK, GMASK, SOP)}, len(model.pieces))
    config.tie_word_embeddings = _is_tied(weights)
    convert_weights(weights, _rules(config), output, progress, ignored=_ignored(config))
    config.dtype = weights.dtype(_TABLE)
    config.architectures = ["ChatGlmForCausalLM"]
    config.save_pretrained(output)
    tokens = {"eos_token": config.eos_token_id, "pad_token": config.pad_token_id}
    save_ice_tokenizer(model, output, tokens, config.max_position_embeddings)
    note = "Its files hold no output layer: the table of embeddings is one, as in the original."
    return Converted(template="chatglm", notes=() if _HEAD in weights else (note,))


def adapter_rules(config: Mapping[str, Any]) -> list[TensorRule]:
    """Rules of the layers that LoRA can be on, for a converted model's configuration: names stay as they are."""
    from .configuration import ChatGlmConfig

    return [rule for rule in _rules(ChatGlmConfig.from_dict(config)) if ".layers." in rule.targets[0]]


def _config(original: Mapping[str, Any], tokens: Mapping[str, int], pieces: int) -> Any:
    """The standard configuration. `tokens` are the control tokens' ids by the tokenizer's `pieces`.

    Raises:
        ModelError: configuration and tokenizer name different ids.
    """
    from .configuration import ChatGlmConfig

    named = {"mask_token_id": MASK, "gmask_token_id": GMASK, "bos_token_id": SOP}
    for key, text in named.items():
        if original.get(key, tokens[text]) != tokens[text]:
            raise ModelError(
                f"{key} is {original[key]!r} in config.json, where {text!r} has id {tokens[text]} in the tokenizer. "
                "config.json, tokenizer_config.json and ice_text.model are of different versions; copy all again."
            )
    size = positive_number(original, "vocab_size")
    others = {key: positive_number(original, key) for key in ("eos_token_id", "pad_token_id")}
    if max(pieces, *others.values()) > size:
        raise ModelError(f"vocab_size is {size:,} in config.json, where the tokenizer has {pieces:,} tokens.")
    return ChatGlmConfig(
        vocab_size=size,
        hidden_size=positive_number(original, "hidden_size"),
        intermediate_size=positive_number(original, "inner_hidden_size"),
        num_hidden_layers=positive_number(original, "num_layers"),
        num_attention_heads=positive_number(original, "num_attention_heads"),
        max_position_embeddings=positive_number(original, "max_sequence_length"),
        layer_norm_eps=float(original.get("layernorm_epsilon", 1e-5)),
        **{key: tokens[text] for key, text in named.items()},
        **others,
    )


def _is_tied(weights: OriginalWeights) -> bool:
    """Whether the output layer is the table of embeddings, of which files hold a second copy."""
    import torch

    if _HEAD not in weights or _TABLE not in weights:
        return _TABLE in weights
    return weights.shape(_HEAD) == weights.shape(_TABLE) and torch.equal(weights.tensor(_HEAD), weights.tensor(_TABLE))


def _ignored(config: Any) -> str:
    """A pattern of tensors that carry nothing: rotary frequencies, and the second copy of the table."""
    return f"{_FREQUENCIES}|{_HEAD}" if config.tie_word_embeddings else _FREQUENCIES


def _rules(config: Any) -> list[TensorRule]:
    wide, inner = config.hidden_size, config.intermediate_size
    norm: dict[str, tuple[int, ...]] = {"weight": (wide,), "bias": (wide,)}
    parts = {
        "input_layernorm": norm,
        "attention.query_key_value": {"weight": (3 * wide, wide), "bias": (3 * wide,)},
        "attention.dense": {"weight": (wide, wide), "bias": (wide,)},
        "post_attention_layernorm": norm,
        "mlp.dense_h_to_4h": {"weight": (inner, wide), "bias": (inner,)},
        "mlp.dense_4h_to_h": {"weight": (wide, inner), "bias": (wide,)},
    }
    shapes: dict[str, tuple[int, ...]] = {_TABLE: (config.vocab_size, wide)}
    for number in range(config.num_hidden_layers):
        for part, tensors in parts.items():
            shapes |= {f"transformer.layers.{number}.{part}.{kind}": shape for kind, shape in tensors.items()}
    shapes |= {f"transformer.final_layernorm.{kind}": shape for kind, shape in norm.items()}
    if not config.tie_word_embeddings:
        shapes[_HEAD] = (config.vocab_size, wide)
    return [renamed(name, name, *shape) for name, shape in shapes.items()]
