"""Rotary positions of a configuration as keys and tensors of a GGUF file.

`linear` and `yarn` are keys; Llama 3's and Phi-3's scalings are tensors of a factor for each frequency. Format:
github.com/ggml-org/ggml/blob/master/docs/gguf.md. Knows `rope_parameters` of Transformers 5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from camelid_core.errors import ModelError

from .families import Family

Values = Mapping[str, Any]
_YARN = {
    "yarn_ext_factor": "extrapolation_factor", "yarn_attn_factor": "attention_factor",
    "yarn_beta_fast": "beta_fast", "yarn_beta_slow": "beta_slow",
}  # fmt: skip
_KINDS = ("default", "linear", "yarn", "llama3", "longrope", "su")


def rope_settings(config: Values, family: Family) -> dict[str, Any]:
    """Keys without their architecture, and values.

    Raises:
        ModelError: a scaling that llama.cpp does not compute.
    """
    if not family.rotary:
        return {}
    parameters = _parameters(config)
    kind = parameters.get("rope_type", "default")
    if kind not in _KINDS:
        raise ModelError(f"its RoPE scaling {kind!r} is none that llama.cpp has; those are {', '.join(_KINDS[:-1])}.")
    found: dict[str, Any] = {
        "rope.dimension_count": rotary_width(config, family),
        "rope.freq_base": float(parameters.get("rope_theta", 10000.0)),
    }
    if (local := _nested(config, "sliding_attention")) and "rope_theta" in local:
        found["rope.freq_base_swa"] = float(local["rope_theta"])
    if kind in ("linear", "yarn"):
        found |= {"rope.scaling.type": kind, "rope.scaling.factor": float(parameters["factor"])}
    if kind == "yarn":
        found["rope.scaling.original_context_length"] = int(parameters["original_max_position_embeddings"])
        found |= {f"rope.scaling.{ours}": float(parameters[key]) for ours, key in _YARN.items() if parameters.get(key)}
    if kind in ("longrope", "su"):
        found |= {"rope.scaling.type": "longrope", "rope.scaling.attn_factor": _longrope_attention(config, parameters)}
    return found


def rope_tensors(config: Values, family: Family) -> dict[str, list[float]]:
    """Factors of the frequencies, by the tensor's name in GGUF files."""
    parameters = _parameters(config) if family.rotary else {}
    kind = parameters.get("rope_type", "default")
    if kind == "llama3":
        return {"rope_freqs.weight": _llama3(config, parameters, rotary_width(config, family))}
    if kind in ("longrope", "su"):
        return {
            f"rope_factors_{length}.weight": [float(each) for each in parameters[f"{length}_factor"]]
            for length in ("long", "short")
        }
    return {}


def rotary_width(config: Values, family: Family) -> int:
    """How many numbers of a head are turned."""
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    parameters = _parameters(config)
    share = parameters.get("partial_rotary_factor") or config.get("partial_rotary_factor") or config.get("rotary_pct")
    return int(width * (family.rotary_share if share is None else share))


def _parameters(config: Values) -> Values:
    """Those of full attention, where local attention has its own."""
    return _nested(config, "full_attention") or config.get("rope_parameters") or {}


def _nested(config: Values, kind: str) -> Values:
    found: Any = (config.get("rope_parameters") or {}).get(kind)
    return found if isinstance(found, Mapping) else {}


def _longrope_attention(config: Values, parameters: Values) -> float:
    original = parameters.get("original_max_position_embeddings") or config["original_max_position_embeddings"]
    scale = config["max_position_embeddings"] / original
    return math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0


def _llama3(config: Values, parameters: Values, width: int) -> list[float]:
    """What each frequency is divided by (Llama 3.1): long waves by the factor, short ones by 1, smoothly between."""
    factor, low, high = (float(parameters[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    original = float(parameters["original_max_position_embeddings"])
    theta = float(parameters["rope_theta"])

    def of(wave: float) -> float:
        smooth = (original / wave - low) / (high - low)
        if smooth >= 1:
            return 1.0
        return factor if smooth <= 0 else 1 / ((1 - smooth) / factor + smooth)

    return [of(2 * math.pi * theta ** (index / width)) for index in range(0, width, 2)]
