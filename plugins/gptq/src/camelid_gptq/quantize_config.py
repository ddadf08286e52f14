"""What a GPTQ model says of itself: `quantize_config.json`, its entry in `config.json`, and the weights' metadata.

Format: AutoGPTQ 0.4 (github.com/AutoGPTQ/AutoGPTQ), as published repositories have it, byte for byte. Knows no tensor.
"""

from __future__ import annotations

import json
from typing import Any

from .recipes import GptqRecipe

QUANTIZE_CONFIG = "quantize_config.json"
WEIGHTS = "model"
"""Stem of the file of weights."""
LAYOUT_VERSION = "0.4.2"
"""The release of AutoGPTQ whose layout this is; it is no statement of what made the file."""


def quantize_config(recipe: GptqRecipe, sym: bool, true_sequential: bool) -> dict[str, Any]:
    """The eight keys, in their order."""
    return {
        "bits": recipe.bits,
        "group_size": recipe.group_size,
        "damp_percent": recipe.damp,
        "desc_act": recipe.desc_act,
        "sym": sym,
        "true_sequential": true_sequential,
        "model_name_or_path": None,
        "model_file_base_name": WEIGHTS,
    }


def quantize_config_text(values: dict[str, Any]) -> str:
    """The bytes of the file: indented by two, and no newline at its end."""
    return json.dumps(values, indent=2)


def quantization_entry(values: dict[str, Any]) -> dict[str, Any]:
    """`quantization_config` of a model's `config.json`: by it Transformers knows that the weights are quantised."""
    return {**values, "quant_method": "gptq"}


def weights_metadata(recipe: GptqRecipe, tool: str) -> dict[str, str]:
    """Metadata of the safetensors file; `tool` made it."""
    return {
        "auto_gptq_version": LAYOUT_VERSION,
        "gptq_bits": str(recipe.bits),
        "gptq_group_size": str(recipe.group_size),
        "gptq_desc_act": str(recipe.desc_act),
        "gptq_damp_percent": str(recipe.damp),
        "quantizer": tool,
    }
