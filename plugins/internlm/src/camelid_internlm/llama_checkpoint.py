"""Writing an InternLM checkpoint as LLaMA by rules for its tensors: what all generations share. Knows no names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from camelid_core.models.checkpoint_converters import ConversionProgress, Converted
from camelid_core.models.llama_target import LlamaSizes, check_untied, write_llama_config
from camelid_core.models.original_weights import OriginalWeights
from camelid_core.models.tensor_rules import TensorRule, convert_weights

from .texts import context_length, rope_parameters, write_tokenizer


def convert_by_rules(
    config: Mapping[str, Any],
    rules: Iterable[TensorRule],
    source: Path,
    output: Path,
    progress: ConversionProgress,
    *,
    biased: bool,
    first: bool,
    ignored: str,
) -> Converted:
    """`biased` says whether attention has biases, `first` that it is of the first generation, whose tokenizer differs;
    `ignored` matches the names of buffers that are computed anew."""
    check_untied(config)
    weights, longest = OriginalWeights(source), context_length(config)
    converted = write_tokenizer(source, output, longest, first)
    convert_weights(weights, list(rules), output, progress, ignored=ignored)
    rope = rope_parameters(config)
    write_llama_config(
        config, LlamaSizes.of(config), weights, output,
        max_position_embeddings=longest, rope_parameters=rope, attention_bias=biased,
    )  # fmt: skip
    return converted
