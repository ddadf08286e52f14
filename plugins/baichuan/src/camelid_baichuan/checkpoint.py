"""Baichuan's checkpoints under LLaMA's names: `W_pack` is the projections to queries, keys and values, in this order.

Source: `modeling_baichuan.py` of github.com/baichuan-inc/Baichuan-7B, of Baichuan2-7B-Base and of Baichuan2-13B-Chat.
The rotary base is 10,000.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from camelid_core.models.checkpoint_converters import ConversionProgress, Converted
from camelid_core.models.llama_target import (
    ROTARY_BUFFERS,
    LayerNames,
    LlamaSizes,
    check_untied,
    end_rules,
    kept_rules,
    layer_rules,
    positive_number,
    write_llama_config,
)
from camelid_core.models.original_weights import OriginalWeights
from camelid_core.models.resolved_model import read_object
from camelid_core.models.tensor_rules import TensorRule, convert_weights, renamed

from .family import MODEL_TYPE, has_normalised_head, has_rotary_positions
from .texts import normalised_rows, write_tokenizer

_NAMES = LayerNames()


def convert(source: Path, output: Path, progress: ConversionProgress) -> Converted:
    """Of every variant: which of them it is, its configuration says."""
    config = read_object(source / "config.json")
    check_untied(config)
    sizes, weights = LlamaSizes.of(config), OriginalWeights(source)
    rotary = has_rotary_positions(config)
    longest = positive_number(config, "max_position_embeddings" if rotary else "model_max_length")
    rules = list(_rules(sizes, has_normalised_head(config)))
    converted = write_tokenizer(source, output, longest)
    convert_weights(weights, rules, output, progress, ignored=ROTARY_BUFFERS)
    settings: dict[str, Any] = {"max_position_embeddings": longest, "attention_bias": False}
    if rotary:
        settings["rope_parameters"] = {"rope_type": "default", "rope_theta": 10000.0}
    write_llama_config(config, sizes, weights, output, **settings)
    if not rotary:
        _name_alibi(output / "config.json")
    return converted


def adapter_rules(config: Mapping[str, Any]) -> list[TensorRule]:
    """Rules of the layers that LoRA can be on, for a converted model's configuration."""
    return layer_rules(_rules(LlamaSizes.of(config), False))


def _name_alibi(path: Path) -> None:
    """Make a LLaMA configuration one of our class for ALiBi."""
    made = read_object(path)
    made |= {"model_type": MODEL_TYPE, "architectures": ["BaichuanAlibiForCausalLM"], "alibi": True}
    path.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def _rules(sizes: LlamaSizes, normalised_head: bool) -> Iterator[TensorRule]:
    embeddings, norm, head = end_rules(_NAMES, sizes)
    yield embeddings
    for number in range(sizes.layers):
        layer = f"model.layers.{number}"
        attention = f"{layer}.self_attn"
        yield TensorRule(
            {f"{attention}.W_pack.weight": (3 * sizes.hidden, sizes.hidden)},
            tuple(f"{attention}.{part}_proj.weight" for part in "qkv"),
            _thirds,
        )
        yield renamed(f"{attention}.o_proj.weight", f"{attention}.o_proj.weight", sizes.hidden, sizes.hidden)
        yield from kept_rules(_NAMES, sizes, number)
    yield norm
    yield replace(head, function=normalised_rows) if normalised_head else head


def _thirds(packed: Any) -> Any:
    return packed.chunk(3)
