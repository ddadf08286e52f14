"""Variants of the original checkpoints that are not converted. Knows their `config.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from camelid_core.errors import ModelError


def refuse_variants(config: Mapping[str, Any]) -> None:
    """Raise ModelError for quantised weights and for learned prefixes (P-tuning), which no converter reads."""
    if config.get("quantization_bit"):
        raise ModelError(
            f"quantization_bit is {config['quantization_bit']!r} in config.json: weights in the format of the "
            "originals' own kernels. Convert the repository without -int4 or -int8 in its name, then quantise that."
        )
    if config.get("pre_seq_len"):
        raise ModelError(
            f"pre_seq_len is {config['pre_seq_len']!r} in config.json: a learned prefix (P-tuning) beside the weights, "
            "which is not converted. Convert the model without it."
        )
