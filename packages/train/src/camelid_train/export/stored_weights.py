"""How a model's weights are stored, and how many numbers each is once it is dequantised. Read from headers alone.

Knows what GPTQ and bitsandbytes write beside a weight. Dequantises nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.models.weight_files import WeightFiles

from .gptq_weights import GptqWeightFiles

GPTQ, BITSANDBYTES = "gptq", "bitsandbytes"
_TWO_IN_A_BYTE = "U8"
_BESIDE_A_WEIGHT = (".SCB", ".weight_format")
"""What bitsandbytes stores beside an int8 weight; what belongs to a 4-bit one is called `X.weight.…`."""


def stored_as(resolved: ResolvedModel) -> str:
    """How the base's weights are stored quantised, as Transformers names it; empty for plain ones."""
    return str((resolved.config.get("quantization_config") or {}).get("quant_method") or "")


def plain_values(resolved: ResolvedModel) -> Mapping[str, int]:
    """Weight → how many numbers it has, dequantised where it is stored quantised. In other formats than GPTQ and
    bitsandbytes, which are never dequantised here, it is what is stored.

    Raises:
        ModelError, ArtefactError: there are no weights, or they are damaged.
    """
    stored = stored_as(resolved)
    if stored == GPTQ:
        gptq = GptqWeightFiles(resolved.base, resolved.config["quantization_config"], ())
        return {name: gptq.values(name) for name in gptq.names}
    files = WeightFiles(resolved.base)
    if stored != BITSANDBYTES:
        return {name: files.values(name) for name in files.names}
    weights = (name for name in files.names if ".weight." not in name and not name.endswith(_BESIDE_A_WEIGHT))
    return {name: files.values(name) * (2 if files.dtype(name) == _TWO_IN_A_BYTE else 1) for name in weights}
