"""Weights on disk, one tensor at a time: read from a model's safetensors files, and written into shards.

Knows names, shapes and files. Holds one shard in memory at most, whatever the size of the model. Knows nothing of what
the tensors mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.integrity import safetensors_header

FLOAT32_BYTES = 4
_INDEX = ".safetensors.index.json"


class WeightFiles:
    """The tensors of a directory, by name. `stem` is how the names of its files begin; empty takes all.

    Raises:
        ArtefactError: a damaged file.
        ModelError: no weights, or a tensor that two files hold.
    """

    def __init__(self, directory: Path, stem: str = "") -> None:
        self.directory = directory
        self._files: dict[str, Path] = {}
        self._headers: dict[str, dict[str, Any]] = {}
        self._open: tuple[Path, Any] | None = None
        for path in sorted(directory.glob(f"{stem}*.safetensors")):
            for name, header in safetensors_header(path).items():
                if name == "__metadata__":
                    continue
                if name in self._files:
                    raise ModelError(f"{self._files[name].name!r} and {path.name!r} both hold {name!r}; remove one.")
                self._files[name], self._headers[name] = path, header
        if not self._files:
            raise ModelError(f"{str(directory)!r} holds no weights ({stem}*.safetensors).")

    def __contains__(self, name: str) -> bool:
        return name in self._files

    @property
    def names(self) -> list[str]:
        return sorted(self._files)

    @property
    def in_file_order(self) -> list[str]:
        """The names file by file, so that each file is opened once."""
        return sorted(self._files, key=lambda name: (self._files[name], name))

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(header["data_offsets"][1] - header["data_offsets"][0] for header in self._headers.values())

    @property
    def count(self) -> int:
        """How many numbers all tensors hold."""
        return sum(map(self.values, self._files))

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._headers[name]["shape"])

    def dtype(self, name: str) -> str:
        """As safetensors writes it: F32, BF16, I32 …"""
        return str(self._headers[name]["dtype"])

    def values(self, name: str) -> int:
        """How many numbers it holds."""
        count = 1
        for size in self.shape(name):
            count *= size
        return count

    def tensor(self, name: str) -> Any:
        """The torch tensor, on the CPU, in the dtype it is stored in."""
        from safetensors import safe_open

        path = self._files[name]
        if self._open is None or self._open[0] != path:
            self._open = path, safe_open(path, framework="pt")
        return self._open[1].get_tensor(name)


class ShardWriter:
    """Writes tensors into files of at most `limit` bytes, each of which holds one tensor at least.

    They are named as transformers names them: `STEM.safetensors`, or `STEM-00001-of-00002.safetensors` with an index.
    """

    def __init__(self, directory: Path, stem: str, limit: int) -> None:
        self._directory, self._stem, self._limit = directory, stem, limit
        self._shard: dict[str, Any] = {}
        self._bytes = self._total = 0
        self._written: list[list[str]] = []

    def add(self, name: str, tensor: Any) -> None:
        size = tensor.numel() * tensor.element_size()
        if self._shard and self._bytes + size > self._limit:
            self._flush()
        self._shard[name] = tensor.contiguous()
        self._bytes += size
        self._total += size

    def finish(self) -> None:
        """Write what is left, give the files their names, and write the index."""
        self._flush()
        places = dict(self._places())
        if len(self._written) == 1:
            return
        index = {"metadata": {"total_size": self._total}, "weight_map": dict(sorted(places.items()))}
        path = self._directory / f"{self._stem}{_INDEX}"
        path.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")

    def _places(self) -> Iterator[tuple[str, str]]:
        """Tensor → file, each of which gets its name meanwhile."""
        count = len(self._written)
        for number, names in enumerate(self._written, 1):
            part = f"-{number:05}-of-{count:05}" if count > 1 else ""
            path = self._part(number).rename(self._directory / f"{self._stem}{part}.safetensors")
            yield from ((name, path.name) for name in names)

    def _flush(self) -> None:
        from safetensors.torch import save_file

        if self._shard:
            self._written.append(list(self._shard))
            save_file(self._shard, self._part(len(self._written)), {"format": "pt"})
            self._shard, self._bytes = {}, 0

    def _part(self, number: int) -> Path:
        return self._directory / f".{self._stem}-{number:05}"
