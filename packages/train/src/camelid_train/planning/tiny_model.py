"""A tiny random model of the same architecture as a given one, with its tokenizer: two layers, the same classes.

Knows what sizes are called in Transformers' configurations, as data. Knows no model family and needs no weights.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camelid_core.errors import ModelError
from camelid_core.models.loading import load_config

if TYPE_CHECKING:
    from camelid_core.models.resolved_model import ResolvedModel

LAYERS, WIDTH, HEADS, HEAD = 2, 64, 4, 16

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_GROUPS = ("num_key_value_heads", "num_kv_heads", "multi_query_group_num", "n_head_kv")

MAX_SIZES: Mapping[str, int] = {
    **dict.fromkeys(_LAYERS, LAYERS),
    **dict.fromkeys(_HEADS, HEADS),
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "word_embed_proj_dim"), WIDTH),
    **dict.fromkeys(("head_dim", "kv_channels", "v_head_dim", "qk_nope_head_dim"), HEAD),
    **dict.fromkeys(("intermediate_size", "intermediate_size_mlp", "ffn_dim", "ffn_hidden_size", "n_inner"), 2 * WIDTH),
    # mixtures of experts
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_topk"), 2),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), WIDTH),
    **dict.fromkeys(("n_shared_experts", "n_group", "topk_group", "first_k_dense_replace"), 1),
    # low-rank attention (MLA), and state-space models
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "time_step_rank"), HEAD),
    "qk_rope_head_dim": HEAD,
    "qk_head_dim": 2 * HEAD,
    "rotary_dim": HEAD // 2,
    "state_size": HEAD,
}
"""Upper limits of the sizes in a tiny configuration, by name."""

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx", ".index.json")


def tiny_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with small sizes; everything else (layer types, activations, positions, vocabulary) stays. Of
    layers of several types, two different ones are left."""
    small = {key: _small(key, value) for key, value in config.items() if key != "quantization_config"}
    heads = next((small[name] for name in _HEADS if small.get(name)), HEADS)
    for name in _GROUPS:
        if isinstance(config.get(name), int):
            every = config[name] == next((config[each] for each in _HEADS if config.get(each)), None)
            small[name] = heads if every else min(config[name], max(1, heads // 2))
    layers = next((config[name] for name in _LAYERS if isinstance(config.get(name), int)), 0)
    for key, value in small.items():
        if isinstance(value, list) and layers > LAYERS and len(value) == layers:
            small[key] = [value[0], next((each for each in value if each != value[0]), value[0])]
    return small


def _small(key: str, value: Any) -> Any:
    if isinstance(value, Mapping) and key.endswith("_config"):
        return tiny_config(value)
    if isinstance(value, Mapping) and key.startswith("rope_"):  # one factor for each pair of a head's dimensions
        return {name: item[: HEAD // 2] if isinstance(item, list) else item for name, item in value.items()}
    if key in MAX_SIZES and isinstance(value, int) and not isinstance(value, bool):
        return min(value, MAX_SIZES[key])
    return value


def make_tiny_model(resolved: ResolvedModel, directory: Path, seed: int = 0) -> Any:
    """Write a tiny model like the reference's to `directory`, with all small files that lie beside its weights.

    Returns the model.

    Raises:
        ModelError: Transformers does not know the architecture, or its sizes do not go together.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    directory.mkdir(parents=True)
    for path in sorted(resolved.base.iterdir()):
        if path.is_file() and not path.name.endswith(_WEIGHTS):
            shutil.copy(path, directory / path.name)
    try:
        config = load_config(resolved)
        tiny = type(config).from_dict(tiny_config(config.to_dict()))
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(tiny, dtype=torch.float32)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"{resolved.name!r} cannot be made small: {reason}") from error
    model.save_pretrained(directory)
    return model
