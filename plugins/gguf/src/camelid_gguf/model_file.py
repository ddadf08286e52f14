"""A model of Transformers as a GGUF file: what is planned, how large it will be, and the writing of it.

Knows which parts make a file: metadata, vocabulary, layout, mixture. One tensor is in memory at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.models.loading import config_of
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.models.weight_files import WeightFiles

from . import metadata
from .ggml import stored
from .gguf_file import Entry, FileWriter
from .layout import EMBEDDINGS, HEAD, Layout, Planned
from .mixtures import MIXTURES, formats, in_order
from .number_formats import PLAIN, blocks

Importances = Mapping[str, Any]
"""Tensor's name in the file → importance of each column, float32."""


@dataclass(frozen=True)
class ModelFile:
    """A file as it is planned. `config` is the complete configuration."""

    config: Mapping[str, Any]
    architecture: str
    layout: Layout
    entries: Mapping[str, Entry]
    mixture: str
    settings: Mapping[str, Any]

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(entry.size for entry in self.entries.values())

    @property
    def numbers(self) -> int:
        """Numbers of all tensors."""
        return sum(math.prod(entry.shape) for entry in self.entries.values())

    @property
    def largest(self) -> int:
        """Numbers of the largest tensor."""
        return max(math.prod(entry.shape) for entry in self.entries.values())

    @property
    def weighted(self) -> dict[str, Planned]:
        """The tensors whose columns an importance matrix weighs: all matrices but embeddings and head."""
        tables = (EMBEDDINGS, HEAD)
        return {
            name: planned
            for name, planned in self.layout.tensors.items()
            if len(planned.shape) > 1 and name not in tables and planned.source
        }

    @property
    def fallbacks(self) -> list[str]:
        """Tensors whose rows do not divide into the blocks of the mixture's own format."""
        wanted = MIXTURES[self.mixture].most
        if wanted in PLAIN:
            return []
        width = blocks(wanted)[0]
        return [name for name, entry in self.entries.items() if len(entry.shape) > 1 and entry.shape[-1] % width]

    def write(
        self,
        path: Path,
        description: Mapping[str, Any],
        limit: int = 0,
        importances: Importances | None = None,
        report: Callable[[int, str], None] = lambda done, name: None,
    ) -> None:
        """Write the file. `description` is the metadata beside the settings; `limit` as of `FileWriter`.

        Raises:
            ModelError: numbers that are not finite, or that the format cannot hold.
        """
        values = {**self.settings, **description}
        FileWriter(path, self.architecture, values, self.entries, limit).write(self._data(importances or {}, report))

    def _data(self, importances: Importances, report: Callable[[int, str], None]) -> Iterator[Any]:
        done = 0
        for name, entry in self.entries.items():
            report(done, name)
            values = self.layout.tensors[name].read()
            yield stored(name, values, entry.number_format, _fitting(importances, name, entry))
            done += entry.size
        report(done, "")


def plan(source: ResolvedModel, mixture: str, weighted: bool = False) -> ModelFile:
    """What a file of the model in that mixture holds. `weighted` says that there is an importance matrix.

    Raises:
        ModelError: a family, a setting or a tensor that llama.cpp does not have.
    """
    config = config_of(source).to_dict()
    family = metadata.family_of(config)
    layout = Layout(WeightFiles(source.base), config, family)
    chosen = formats(mixture, layout.shapes, layout.sizes, weighted)
    entries = {name: Entry(chosen[name], layout.tensors[name].shape) for name in in_order(layout.tensors)}
    settings = metadata.settings(config, family) | {f"{family.architecture}.vocab_size": layout.vocabulary}
    return ModelFile(config, family.architecture, layout, entries, mixture, settings)


def _fitting(importances: Importances, name: str, entry: Entry) -> Any:
    """The importances of a tensor's columns; None for one that has none, such as the embeddings.

    Raises:
        ModelError: of another number of columns.
    """
    found = importances.get(name)
    if found is not None and found.numel() != entry.shape[-1]:
        raise ModelError(
            f"the importance matrix has {found.numel():,} columns for {name!r}, and the model {entry.shape[-1]:,}; it "
            "is another model's."
        )
    return found
