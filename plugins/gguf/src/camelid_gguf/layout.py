"""Which tensors of a model's files become which of a GGUF file, and how.

Knows names, shapes and the families' transforms. Reads no weights but through `Planned.read`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.models.vocabulary import is_table
from camelid_core.models.weight_files import WeightFiles

from .families import Family
from .mixtures import Sizes
from .rope_settings import rope_tensors

HEAD, EMBEDDINGS = "output.weight", "token_embd.weight"


@dataclass(frozen=True)
class Planned:
    """A tensor of the file that will be written. `read` gives its values as float32; `source` is the name of the tensor
    that it is made of, empty where it is computed."""

    shape: tuple[int, ...]
    read: Callable[[], Any]
    source: str = ""


def sizes_of(config: Mapping[str, Any], family: Family) -> Sizes:
    """Raises ModelError: the configuration lacks one."""

    def size(key: str) -> int:
        names = family.settings[key]
        found = next((config[name] for name in names if config.get(name) is not None), None)
        if not isinstance(found, int):
            raise ModelError(f"its config.json has no {names[0]!r}.")
        return found

    heads, keys = size("attention.head_count"), size("attention.head_count_kv")
    return Sizes(size("block_count"), heads, keys, family.mixed_as_llama)


class Layout:
    """The tensors to write, by their names in the file.

    Raises:
        ModelError: a tensor that has no place in llama.cpp's architecture.
    """

    def __init__(self, files: WeightFiles, config: Mapping[str, Any], family: Family) -> None:
        self._files, self._family = files, family
        self._tied = bool(config.get("tie_word_embeddings"))
        self.sizes = sizes_of(config, family)
        self._names = _name_map(family, self.sizes.layers)
        self.tensors: dict[str, Planned] = {}
        for name in files.in_file_order:
            if not name.endswith(tuple(family.unused)):
                self._plan(name)
        for name, values in rope_tensors(config, family).items():
            self.tensors[name] = Planned((len(values),), partial(_tensor, values))
        if family.head and HEAD not in self.tensors:
            self.tensors[HEAD] = self.tensors[EMBEDDINGS]
        if EMBEDDINGS not in self.tensors:
            raise ModelError("its weight files hold no embedding table.")

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding table."""
        return self.tensors[EMBEDDINGS].shape[0]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: planned.shape for name, planned in self.tensors.items()}

    def target(self, source: str) -> str:
        """The name in the file of a tensor of Transformers; empty for none."""
        plain = source.removeprefix(self._family.prefix)
        return self._names.get_name(plain, try_suffixes=(".weight", ".bias")) or ""

    def transformed(self, target: str, tensor: Any) -> Any:
        """A tensor, or the matrix of an adapter that gives its rows, as it lies in the file."""
        for end, transform in self._family.transforms.items():
            if target.endswith(end):
                tensor = transform(tensor, self._heads(target))
        return tensor

    def _plan(self, source: str) -> None:
        target = self.target(source)
        if not target:
            raise ModelError(f"its tensor {source!r} has no place in llama.cpp's {self._family.architecture!r}.")
        if target == HEAD and self._tied and is_table(source):
            return  # Transformers reads the embeddings in its place, and so does llama.cpp
        shape = self._files.shape(source)
        self.tensors[target] = Planned(shape, partial(self._read, source, target), source)

    def _read(self, source: str, target: str) -> Any:
        return self.transformed(target, self._files.tensor(source).float())

    def _heads(self, target: str) -> int:
        return self.sizes.key_heads if ".attn_k." in target else self.sizes.heads


def _name_map(family: Family, layers: int) -> Any:
    import gguf

    number = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == family.architecture)
    return gguf.get_tensor_name_map(number, layers)


def _tensor(values: list[float]) -> Any:
    import torch

    return torch.tensor(values, dtype=torch.float32)
