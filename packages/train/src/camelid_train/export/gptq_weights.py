"""GPTQ weights as plain ones: the tensors of a GPTQ model, dequantised one at a time as they are read.

A layer `X` is stored as `X.qweight` (int32, packed along its inputs), `X.qzeros` (int32, packed along its outputs),
`X.scales` (float16, a row per group) and `X.g_idx` (the group of each input): weight = scale * (number - zero). Numbers
of 2, 3, 4 or 8 bits lie one after the other, the lowest bits first. The format is AutoGPTQ's; its first version stores
zero - 1. Knows files. Knows nothing of how they were quantised.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.models.weight_files import WeightFiles

_PARTS = ("qweight", "qzeros", "scales", "g_idx")
_BITS = (2, 3, 4, 8)


class GptqWeightFiles(WeightFiles):
    """`wanted` are the model's own parameters: AutoGPTQ writes a bias of zeros for layers that have none, which is left
    out.

    Raises:
        ModelError: numbers of another size than 2, 3, 4 or 8 bits, or a layer that lacks a part.
    """

    def __init__(self, directory: Path, settings: Mapping[str, Any], wanted: Collection[str]) -> None:
        super().__init__(directory)
        self._bits, self._first_version = settings.get("bits"), settings.get("checkpoint_format") != "gptq_v2"
        if self._bits not in _BITS:
            raise ModelError(f"{str(directory)!r} is quantised to {self._bits!r} bits; known are 2, 3, 4 and 8.")
        self._layers = {name.removesuffix(".qweight") for name in super().names if name.endswith(".qweight")}
        for layer in sorted(self._layers):
            if missing := [part for part in _PARTS if f"{layer}.{part}" not in self._files]:
                raise ModelError(f"{str(directory)!r} lacks {layer}.{missing[0]}: it is no GPTQ model, or not whole.")
        self._wanted = {name for name in super().names if self._is_plain(name, wanted)}
        self._wanted |= {f"{layer}.weight" for layer in self._layers}

    def __contains__(self, name: str) -> bool:
        return name in self._wanted

    @property
    def names(self) -> list[str]:
        return sorted(self._wanted)

    @property
    def in_file_order(self) -> list[str]:
        return sorted(self._wanted, key=lambda name: (self._files[self._stored(name)], name))

    @property
    def count(self) -> int:
        return sum(map(self.values, self._wanted))

    def shape(self, name: str) -> tuple[int, ...]:
        if self._layer(name) is None:
            return super().shape(name)
        inputs, outputs = super().shape(self._stored(name))
        return outputs, inputs * 32 // int(self._bits or 0)

    def torch_dtype(self, name: str) -> Any:
        layer = self._layer(name)
        return super().torch_dtype(name if layer is None else f"{layer}.scales")

    def tensor(self, name: str) -> Any:
        """The torch tensor; of a quantised layer its dequantised weight in float32."""
        layer = self._layer(name)
        return super().tensor(name) if layer is None else self._dequantised(layer)

    def _is_plain(self, name: str, wanted: Collection[str]) -> bool:
        layer, _, part = name.rpartition(".")
        return layer not in self._layers or (part == "bias" and any(each.endswith(name) for each in wanted))

    def _layer(self, name: str) -> str | None:
        layer, _, part = name.rpartition(".")
        return layer if part == "weight" and layer in self._layers else None

    def _stored(self, name: str) -> str:
        layer = self._layer(name)
        return name if layer is None else f"{layer}.qweight"

    def _dequantised(self, layer: str) -> Any:
        read = super().tensor
        groups = read(f"{layer}.g_idx").long()
        numbers = unpacked(read(f"{layer}.qweight").T, int(self._bits or 0))  # outputs, inputs
        zeros = unpacked(read(f"{layer}.qzeros"), int(self._bits or 0)) + int(self._first_version)  # groups, outputs
        scales = read(f"{layer}.scales").float()
        return ((numbers.T - zeros[groups]) * scales[groups]).T.contiguous()


def unpacked(packed: Any, bits: int) -> Any:
    """Numbers of so many bits out of rows of int32, the lowest bits first: [rows, n] → [rows, n * 32 / bits], as
    float32."""
    import numpy as np
    import torch

    octets = packed.contiguous().numpy().view(np.uint8)
    single = np.unpackbits(octets, axis=1, bitorder="little").reshape(len(octets), -1, bits)
    return torch.from_numpy(single @ (2 ** np.arange(bits)).astype(np.uint8)).float()
