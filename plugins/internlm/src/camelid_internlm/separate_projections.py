"""InternLM 1 and 3 as LLaMA: their tensors have LLaMA's names already. InternLM 1 may have biases in attention, at the
output projection too.

Source: `modeling_internlm.py` of internlm-7b, `modeling_internlm3.py` of internlm3-8b-instruct.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.models.checkpoint_converters import ConversionProgress, Converted
from camelid_core.models.llama_target import (
    ROTARY_BUFFERS,
    LayerNames,
    LlamaSizes,
    end_rules,
    kept_rules,
    layer_rules,
)
from camelid_core.models.resolved_model import read_object
from camelid_core.models.tensor_rules import TensorRule, renamed

from .llama_checkpoint import convert_by_rules

_NAMES = LayerNames()


def convert_first(source: Path, output: Path, progress: ConversionProgress) -> Converted:
    config = read_object(source / "config.json")
    return _convert(config, bool(config.get("bias", True)), source, output, progress, first=True)


def convert_third(source: Path, output: Path, progress: ConversionProgress) -> Converted:
    config = read_object(source / "config.json")
    if config.get("bias") or config.get("qkv_bias"):
        raise ModelError("config.json gives this InternLM 3 biases, which no published one has; it is not converted.")
    return _convert(config, False, source, output, progress, first=False)


def adapter_rules(config: Mapping[str, Any]) -> list[TensorRule]:
    """Rules of the layers that LoRA can be on, for a converted model's configuration."""
    return layer_rules(_rules(LlamaSizes.of(config), False))


def _convert(
    config: dict[str, Any], biased: bool, source: Path, output: Path, progress: ConversionProgress, first: bool
) -> Converted:
    rules = _rules(LlamaSizes.of(config), biased)
    return convert_by_rules(config, rules, source, output, progress, biased=biased, first=first, ignored=ROTARY_BUFFERS)


def _rules(sizes: LlamaSizes, biased: bool) -> Iterator[TensorRule]:
    embeddings, norm, head = end_rules(_NAMES, sizes)
    queries, keys = sizes.heads * sizes.head, sizes.kv_heads * sizes.head
    projections = {"q": (queries, sizes.hidden), "k": (keys, sizes.hidden), "v": (keys, sizes.hidden)}
    projections["o"] = (sizes.hidden, queries)
    yield embeddings
    for number in range(sizes.layers):
        for part, (outputs, inputs) in projections.items():
            name = f"model.layers.{number}.self_attn.{part}_proj"
            yield renamed(f"{name}.weight", f"{name}.weight", outputs, inputs)
            if biased:
                yield renamed(f"{name}.bias", f"{name}.bias", outputs)
        yield from kept_rules(_NAMES, sizes, number)
    yield norm
    yield head
