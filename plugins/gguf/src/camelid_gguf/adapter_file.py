"""A LoRA adapter as a GGUF file, which llama.cpp puts on the base model's file when it starts (`--lora`).

Knows PEFT's LoRA files and llama.cpp's: the pair of matrices of each layer, and one alpha for all (the scale is alpha ÷
rank there). Format: github.com/ggml-org/llama.cpp, src/llama-adapter.cpp. Knows nothing of training.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.json_files import object_in
from camelid_core.models.loading import config_of
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.models.weight_files import WeightFiles

from . import metadata
from .ggml import stored
from .gguf_file import Entry, FileWriter
from .layout import EMBEDDINGS, HEAD, Layout
from .mixtures import in_order

_NAME = re.compile(r"^base_model\.model\.(?P<layer>.+)\.lora_(?P<side>[AB])\.weight$")
_REFUSED = (
    "use_dora",
    "modules_to_save",
    "lora_bias",
    "trainable_token_indices",
    "layer_replication",
    "fan_in_fan_out",
)
"""Settings under which an adapter is more than a pair of matrices per layer."""


@dataclass(frozen=True)
class Pair:
    """The two matrices of a layer, by their names in PEFT's file. `scale` is what their product is multiplied with."""

    target: str
    a: str
    b: str
    scale: float


class AdapterFile:
    """The file as it is planned.

    Raises:
        ModelError: an adapter that is no plain LoRA, or is on what llama.cpp cannot put it on.
    """

    def __init__(self, source: ResolvedModel, number_format: str) -> None:
        assert source.adapter_dir is not None
        self._settings = object_in(source.adapter_dir / "adapter_config.json")
        self._refuse()
        config = config_of(source).to_dict()
        family = metadata.family_of(config)
        self._architecture = family.architecture
        self._layout = Layout(WeightFiles(source.base), config, family)
        self._files = WeightFiles(source.adapter_dir, "adapter_model")
        self._alpha = float(self._settings["lora_alpha"])
        self._format = number_format.upper()
        self.pairs = list(self._pairs())
        self.entries = dict(self._entries())

    @property
    def size(self) -> int:
        """Bytes of all matrices."""
        return sum(entry.size for entry in self.entries.values())

    def write(self, path: Path, name: str, licence: str) -> None:
        """Raises ModelError: numbers that are not finite."""
        about = metadata.adapter_description(name, licence, self._alpha)
        FileWriter(path, self._architecture, about, self.entries).write(self._data())

    def _refuse(self) -> None:
        kind = self._settings.get("peft_type")
        if kind != "LORA":
            raise ModelError(f"it is of the kind {kind}, and llama.cpp has LoRA alone; merge it: --to gguf.")
        if found := [key for key in _REFUSED if self._settings.get(key)]:
            raise ModelError(f"it has {found[0]}, which llama.cpp does not; merge it: --to gguf.")
        if self._settings.get("bias", "none") != "none":
            raise ModelError(f"it brings biases (bias={self._settings['bias']!r}); merge it: --to gguf.")

    def _pairs(self) -> Iterator[Pair]:
        sides: dict[str, dict[str, str]] = {}
        for name in self._files.names:
            found = _NAME.match(name)
            if not found:
                raise ModelError(f"it has {name!r}, which is no matrix of LoRA; merge it: --to gguf.")
            sides.setdefault(found["layer"], {})[found["side"]] = name
        for layer, both in sides.items():
            target = self._layout.target(f"{layer}.weight")
            if target not in self._layout.tensors or target in (EMBEDDINGS, HEAD) or set(both) != {"A", "B"}:
                raise ModelError(f"it is on {layer!r}, where llama.cpp takes no adapter; merge it: --to gguf.")
            yield Pair(target, both["A"], both["B"], self._scale(layer, self._files.shape(both["A"])[0]))

    def _scale(self, layer: str, rank: int) -> float:
        alpha = float(_of_pattern(self._settings.get("alpha_pattern") or {}, layer, self._alpha))
        return alpha / (math.sqrt(rank) if self._settings.get("use_rslora") else rank)

    def _entries(self) -> Iterator[tuple[str, Entry]]:
        pairs = {pair.target: pair for pair in self.pairs}
        for target in in_order(pairs):
            for end, source in ((".lora_a", pairs[target].a), (".lora_b", pairs[target].b)):
                yield target + end, Entry(self._format, self._files.shape(source))

    def _data(self) -> Iterator[Any]:
        pairs = {pair.target: pair for pair in self.pairs}
        for target in in_order(pairs):
            pair = pairs[target]
            a, b = self._files.tensor(pair.a).float(), self._files.tensor(pair.b).float()
            b = self._layout.transformed(target, b) * (pair.scale * a.shape[0] / self._alpha)
            yield stored(f"{target}.lora_a", a, self._format)
            yield stored(f"{target}.lora_b", b, self._format)


def _of_pattern(pattern: Mapping[str, Any], layer: str, otherwise: Any) -> Any:
    """What PEFT takes for a layer: the value of the key that its name ends with."""
    return next((value for key, value in pattern.items() if re.match(rf"(.*\.)?({key})$", layer)), otherwise)
