"""Writes the weights of a GPTQ model as AutoGPTQ does: one file, quantised matrices as GPTQModel packed them, and all
else from the source itself, rounded once, to float16.

Knows files and names of tensors. Knows nothing of how they were quantised. Holds one tensor in memory.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.models.vocabulary import is_table
from camelid_core.models.weight_files import ShardWriter, WeightFiles

from .quantize_config import WEIGHTS

_PACKED = ("qweight", "qzeros", "scales", "g_idx")
_ORDER = (*_PACKED, "bias")


def write_weights(
    packed: WeightFiles, source: WeightFiles, output: Path, metadata: Mapping[str, str], zero_bias: bool
) -> None:
    """Write `model.safetensors` to `output`. `packed` is what GPTQModel wrote.

    Raises:
        ModelError: nothing was quantised, or a number that float16 does not hold.
    """
    import torch

    quantised = sorted(name.removesuffix(".qweight") for name in packed.names if name.endswith(".qweight"))
    if not quantised:
        raise ModelError("GPTQModel quantised no matrix of this model.")
    tensors: dict[str, tuple[Any, tuple[int, ...]]] = {}
    zeros = set()
    for name in _names(packed, source, quantised):
        files = _holder(name, packed, source)
        kept = name.rpartition(".")[2] in ("qweight", "qzeros", "g_idx")
        tensors[name] = (torch.int32 if kept else torch.float16, files.shape(name))
    for name in quantised if zero_bias else ():
        if f"{name}.bias" not in tensors:
            zeros.add(f"{name}.bias")
            tensors[f"{name}.bias"] = (torch.float16, (packed.shape(f"{name}.qweight")[1],))
    with ShardWriter(output, WEIGHTS, sys.maxsize, tensors, metadata) as writer:
        for name, (dtype, shape) in tensors.items():
            if name in zeros:
                writer.add(name, torch.zeros(shape, dtype=dtype))
            else:
                writer.add(name, _converted(name, _holder(name, packed, source).tensor(name), dtype))


def _names(packed: WeightFiles, source: WeightFiles, quantised: list[str]) -> list[str]:
    """What the packed model consists of. A head that GPTQModel wrote although the source ties it to the embeddings is
    left out; what only the source has is kept, unless GPTQModel calls tensors otherwise than the source does."""
    of_matrices = {f"{name}.{part}" for name in quantised for part in _ORDER}
    names = [name for name in packed.names if name in source or name in of_matrices or not is_table(name)]
    if any(name not in source and name not in of_matrices for name in names):
        return names
    return names + [
        name for name in source.names if name not in packed and name.removesuffix(".weight") not in quantised
    ]


def _holder(name: str, packed: WeightFiles, source: WeightFiles) -> WeightFiles:
    """Which files a tensor is taken from: what was not quantised comes from the source, which has all of its digits."""
    same = name in source and (name not in packed or source.shape(name) == packed.shape(name))
    return source if same else packed


def _converted(name: str, tensor: Any, dtype: Any) -> Any:
    import torch

    converted = tensor.to(dtype)
    if converted.is_floating_point() and not bool(torch.isfinite(converted).all()):
        raise ModelError(
            f"{name!r} holds numbers over 65,504, or none at all: the format keeps it in float16, which has no such."
        )
    return converted
