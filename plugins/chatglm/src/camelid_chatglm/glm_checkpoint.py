"""Converts ChatGLM2-6B and ChatGLM3-6B to GLM as Transformers has it: the same block under other names.

Knows the original `config.json` and tensor names. Source: configuration_chatglm.py and modeling_chatglm.py of
THUDM/chatglm2-6b and THUDM/chatglm3-6b, where rotary positions turn neighbouring dimensions of the first half of a
head, keys and values have a few heads of their own, and queries, keys and values lie behind one another in one matrix.
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

from .glm_tokenizer import has_roles, save_glm_tokenizer
from .variants import refuse_variants

_TABLE = "transformer.embedding.word_embeddings.weight"
_FREQUENCIES = r"transformer\.rotary_pos_emb\.inv_freq"
_FIXED = {
    "multi_query_attention": True,
    "rmsnorm": True,
    "post_layer_norm": True,
    "original_rope": True,
    "add_bias_linear": False,
    "apply_residual_connection_post_layernorm": False,
}
"""Settings of the architecture that GLM has built in."""
_ROTARY_BASE = 10000.0


def convert(source: Path, output: Path, progress: ConversionProgress) -> Converted:
    """The function of converter `chatglm-2-3`.

    Raises:
        ModelError: a variant that GLM cannot be, or files that do not go together.
    """
    original = object_in(source / "config.json")
    refuse_variants(original)
    for key, value in _FIXED.items():
        if bool(original.get(key, value)) is not value:
            raise ModelError(f"{key} is {original[key]!r} in config.json, which GLM of Transformers cannot be.")
    roles = has_roles(source)
    config, weights = _config(original, roles), OriginalWeights(source)
    convert_weights(weights, _rules(config), output, progress, ignored=_FREQUENCIES)
    config.eos_token_id = save_glm_tokenizer(source, output, roles, config.vocab_size, config.max_position_embeddings)
    config.dtype = weights.dtype(_TABLE)
    config.architectures = ["GlmForCausalLM"]
    config.save_pretrained(output)
    return _converted(original, roles)


def _converted(original: Mapping[str, Any], roles: bool) -> Converted:
    """The prompt template, by what the checkpoint is called and its tokenizer knows; --template has the last word."""
    if str(original.get("_name_or_path", "")).endswith("-base"):
        return Converted(notes=("Its config.json calls it a base model, so it gets no prompt template of its own.",))
    version, reason = ("3", "know") if roles else ("2", "do not know")
    note = (
        f"Taken for ChatGLM{version}: its files {reason} the role <|user|>. --template names another prompt template."
    )
    return Converted(template=f"chatglm-{version}", notes=(note,))


def adapter_rules(config: Mapping[str, Any]) -> list[TensorRule]:
    """Rules of the layers that LoRA can be on, for a converted model's configuration."""
    from transformers import GlmConfig

    return [rule for rule in _rules(GlmConfig.from_dict(config)) if ".layers." in rule.targets[0]]


def _config(original: Mapping[str, Any], roles: bool) -> Any:
    from transformers import GlmConfig

    heads = positive_number(original, "num_attention_heads")
    return GlmConfig(
        vocab_size=positive_number(original, "padded_vocab_size"),
        hidden_size=positive_number(original, "hidden_size"),
        intermediate_size=positive_number(original, "ffn_hidden_size"),
        num_hidden_layers=positive_number(original, "num_layers"),
        num_attention_heads=heads,
        num_key_value_heads=positive_number(original, "multi_query_group_num"),
        head_dim=positive_number(original, "kv_channels"),
        max_position_embeddings=positive_number(original, "seq_length"),
        rms_norm_eps=float(original.get("layernorm_epsilon", 1e-5)),
        attention_bias=bool(original.get("add_qkv_bias")),
        rope_parameters=_rope(float(original.get("rope_ratio", 1)), roles),
        pad_token_id=0,
        tie_word_embeddings=False,
    )


def _rope(ratio: float, roles: bool) -> dict[str, Any]:
    """Longer contexts: ChatGLM2-32k divides places by `ratio`, ChatGLM3's code multiplies the rotary base by it."""
    shared = {"rope_theta": _ROTARY_BASE * (ratio if roles else 1), "partial_rotary_factor": 0.5}
    if ratio == 1 or roles:
        return {**shared, "rope_type": "default"}
    return {**shared, "rope_type": "linear", "factor": ratio}


def _rules(config: Any) -> list[TensorRule]:
    wide, inner = config.hidden_size, config.intermediate_size
    rules = [
        renamed(_TABLE, "model.embed_tokens.weight", config.vocab_size, wide),
        renamed("transformer.encoder.final_layernorm.weight", "model.norm.weight", wide),
        renamed("transformer.output_layer.weight", "lm_head.weight", config.vocab_size, wide),
    ]
    parts = {
        "input_layernorm": ("input_layernorm", (wide,)),
        "self_attention.dense": ("self_attn.o_proj", (wide, config.num_attention_heads * config.head_dim)),
        "post_attention_layernorm": ("post_attention_layernorm", (wide,)),
        "mlp.dense_h_to_4h": ("mlp.gate_up_proj", (2 * inner, wide)),
        "mlp.dense_4h_to_h": ("mlp.down_proj", (wide, inner)),
    }
    for number in range(config.num_hidden_layers):
        theirs, ours = f"transformer.encoder.layers.{number}", f"model.layers.{number}"
        for part, (name, shape) in parts.items():
            rules.append(renamed(f"{theirs}.{part}.weight", f"{ours}.{name}.weight", *shape))
        rules += _fused(config, f"{theirs}.self_attention.query_key_value", f"{ours}.self_attn")
    return rules


def _fused(config: Any, source: str, target: str) -> list[TensorRule]:
    """Rows of `query_key_value` are queries, then keys, then values."""
    groups = config.num_key_value_heads * config.head_dim
    rows = [config.num_attention_heads * config.head_dim, groups, groups]
    kinds = {"weight": (sum(rows), config.hidden_size)} | ({"bias": (sum(rows),)} if config.attention_bias else {})
    return [
        TensorRule(
            {f"{source}.{kind}": shape},
            tuple(f"{target}.{part}_proj.{kind}" for part in "qkv"),
            lambda fused: fused.split(rows),
        )
        for kind, shape in kinds.items()
    ]
