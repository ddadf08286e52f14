"""In which format a model is stored, by its files alone; and how large they are.

Formats of GGUF files by `general.file_type` (github.com/ggml-org/ggml, docs/gguf.md; numbers of llama.h's llama_ftype).
Knows configurations and metadata. Knows no limits and loads no weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from camelid_core.artefacts import Manifest
from camelid_core.models.gguf import gguf_metadata, is_gguf
from camelid_core.models.resolved_model import ResolvedModel

_GGUF_FORMATS = {
    0: "float32",
    1: "float16",
    2: "q4_0",
    3: "q4_1",
    7: "q8_0",
    8: "q5_0",
    9: "q5_1",
    10: "q2_k",
    11: "q3_k_s",
    12: "q3_k_m",
    13: "q3_k_l",
    14: "q4_k_s",
    15: "q4_k_m",
    16: "q5_k_s",
    17: "q5_k_m",
    18: "q6_k",
    19: "iq2_xxs",
    20: "iq2_xs",
    21: "q2_k_s",
    22: "iq3_xs",
    23: "iq3_xxs",
    24: "iq1_s",
    25: "iq4_nl",
    26: "iq3_s",
    27: "iq3_m",
    28: "iq2_s",
    29: "iq2_m",
    30: "iq4_xs",
    31: "iq1_m",
    32: "bfloat16",
}


def format_of(resolved: ResolvedModel) -> str:
    """`q4_k_m`, `nf4`, `int8`, `gptq-4`, `bfloat16` and the like: what the weights are stored in."""
    if is_gguf(resolved.base):
        number = gguf_metadata(resolved.base).get("general.file_type")
        return _GGUF_FORMATS.get(number, f"GGUF type {number}") if isinstance(number, int) else "GGUF"
    quantization = resolved.config.get("quantization_config")
    if isinstance(quantization, Mapping):
        return _quantized_format(quantization)
    return str(resolved.config.get("dtype") or resolved.config.get("torch_dtype") or "float32").removeprefix("torch.")


def _quantized_format(values: Mapping[str, Any]) -> str:
    method = str(values.get("quant_method") or "quantised")
    if method == "bitsandbytes":
        return "int8" if values.get("load_in_8bit") else str(values.get("bnb_4bit_quant_type") or "fp4")
    return f"{method}-{values['bits']}" if isinstance(values.get("bits"), int) else method


def size_of(resolved: ResolvedModel) -> int:
    """Bytes of all files of a model: those of its directory, or of a GGUF file and its further parts; of an adapter
    those of its base too."""
    if is_gguf(resolved.base):
        stem, cut, rest = resolved.base.name.partition("-00001-of-")
        files = resolved.base.parent.glob(f"{stem}-?????-of-{rest}") if cut else [resolved.base]
        return sum(path.stat().st_size for path in files)
    places = [resolved.base, *([resolved.adapter_dir] if resolved.adapter_dir else [])]
    return sum(map(_bytes_below, places))


def estimated_size(manifest: Manifest | None) -> int | None:
    """The bytes of weights that the export was expected to take, where its manifest tells them."""
    export = manifest.parameters.get("export") if manifest is not None else None
    found = export.get("estimated_size") if isinstance(export, Mapping) else None
    return found if isinstance(found, int) and found > 0 else None


def weights_size(resolved: ResolvedModel) -> int:
    """Bytes of the weight files alone, which is what an estimate is about."""
    if is_gguf(resolved.base):
        return size_of(resolved)
    return sum(path.stat().st_size for path in resolved.base.glob("*.safetensors"))


def _bytes_below(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
