"""Weights on disk, one tensor at a time: read from a model's safetensors files, and written into shards.

Knows names, shapes and files. Holds one tensor in memory, whatever the size of the model. Knows nothing of what the
tensors mean.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

from camelid_core.errors import ModelError
from camelid_core.integrity import safetensors_header
from camelid_core.json_files import object_in

FLOAT32_BYTES = 4
DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8",
    "BOOL": "bool",
}  # fmt: skip
"""How safetensors names PyTorch's dtypes."""
_NAMES = {f"torch.{name}": short for short, name in DTYPES.items()}
_INDEX = ".safetensors.index.json"


class WeightFiles:
    """The tensors of a directory, by name. `stem` is how the names of its files begin; empty takes a model's.

    Raises:
        ArtefactError: a damaged file.
        ModelError: no weights, or a tensor that two files hold.
    """

    def __init__(self, directory: Path, stem: str = "") -> None:
        self.directory = directory
        self._files: dict[str, Path] = {}
        self._headers: dict[str, dict[str, Any]] = {}
        for path in _files_of(directory, stem):
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
        return math.prod(self.shape(name))

    def tensor(self, name: str) -> Any:
        """The torch tensor, on the CPU, in the dtype it is stored in. It is read, not mapped: no page of the file stays
        in memory."""
        import torch

        begin, end = self._headers[name]["data_offsets"]
        tensor = torch.empty(self.shape(name), dtype=self.torch_dtype(name))
        with self._files[name].open("rb") as file:
            file.seek(8 + struct.unpack("<Q", file.read(8))[0] + begin)
            if end > begin and file.readinto(tensor.reshape(-1).view(torch.uint8).numpy().data) != end - begin:
                raise ModelError(f"{str(self._files[name])!r} ends within {name!r}. Copy it again, whole.")
        return tensor

    def torch_dtype(self, name: str) -> Any:
        """Raises ModelError: no plain dtype."""
        import torch

        if self.dtype(name) not in DTYPES:
            raise ModelError(f"{name!r} in {str(self.directory)!r} is of {self.dtype(name)}, which is no plain dtype.")
        return getattr(torch, DTYPES[self.dtype(name)])


def _files_of(directory: Path, stem: str) -> list[Path]:
    """The files that Transformers reads, where the model has its names: others may hold the same weights once more."""
    index = object_in(directory / f"model{_INDEX}").get("weight_map")
    if not stem and isinstance(index, dict):
        files = sorted({directory / Path(str(name)).name for name in index.values()})
        if absent := [path.name for path in files if not path.is_file()]:
            raise ModelError(
                f"{str(directory)!r} lacks {', '.join(absent)}, which its index names. Copy it again, whole."
            )
        return files
    if not stem and (directory / "model.safetensors").is_file():
        return [directory / "model.safetensors"]
    return sorted(directory.glob(f"{stem}*.safetensors"))


DtypeAndShape = tuple[Any, Sequence[int]]


class ShardWriter:
    """Writes tensors into safetensors files of at most `limit` bytes of data, each of which holds one tensor at least.

    `tensors` says dtype and shape of each, in the order in which they are added: so that every file's header is written
    first, and no more than one tensor is in memory. The files are named as transformers names them: `STEM.safetensors`,
    or `STEM-00001-of-00002.safetensors` with an index. `metadata` goes into every header.
    Format: github.com/huggingface/safetensors.
    """

    def __init__(
        self,
        directory: Path,
        stem: str,
        limit: int,
        tensors: Mapping[str, tuple[Any, Sequence[int]]],
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self._directory, self._stem, self._tensors = directory, stem, tensors
        self._metadata = {"format": "pt", **(metadata or {})}
        self._shards = list(_shards({name: _bytes(*each) for name, each in tensors.items()}, limit))
        self._coming = ((number, name) for number, names in enumerate(self._shards, 1) for name in names)
        self._file: BinaryIO | None = None

    def add(self, name: str, tensor: Any) -> None:
        """The next tensor. Raises ValueError: another one, of other dtype or of another shape is next."""
        import torch

        number, coming = next(self._coming)
        if (coming, self._tensors[coming]) != (name, (tensor.dtype, tuple(tensor.shape))):
            raise ValueError(f"{name!r} of {tensor.dtype} and {tuple(tensor.shape)} is not what was said: {coming!r}.")
        names = self._shards[number - 1]
        if name == names[0]:
            self._file = self._part(number).open("wb")
            self._file.write(self._header(names))
        assert self._file is not None
        if tensor.numel():
            self._file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        if name == names[-1]:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        if self._file is not None:
            self._file.close()
        if kind is None:
            self._finish()

    def _finish(self) -> None:
        """Give the files their names, and write the index."""
        places = dict(self._places())
        if len(self._shards) == 1:
            return
        total = sum(_bytes(*each) for each in self._tensors.values())
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
        path = self._directory / f"{self._stem}{_INDEX}"
        path.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")

    def _places(self) -> Iterator[tuple[str, str]]:
        """Tensor → file, each of which gets its name meanwhile."""
        count = len(self._shards)
        for number, names in enumerate(self._shards, 1):
            part = f"-{number:05}-of-{count:05}" if count > 1 else ""
            path = self._part(number).rename(self._directory / f"{self._stem}{part}.safetensors")
            yield from ((name, path.name) for name in names)

    def _header(self, names: Sequence[str]) -> bytes:
        header: dict[str, Any] = {"__metadata__": self._metadata}
        at = 0
        for name in names:
            dtype, shape = self._tensors[name]
            end = at + _bytes(dtype, shape)
            header[name] = {"dtype": _NAMES[str(dtype)], "shape": list(shape), "data_offsets": [at, end]}
            at = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text

    def _part(self, number: int) -> Path:
        return self._directory / f".{self._stem}-{number:05}"


def _shards(sizes: Mapping[str, int], limit: int) -> Iterator[list[str]]:
    shard: list[str] = []
    held = 0
    for name, size in sizes.items():
        if shard and held + size > limit:
            yield shard
            shard, held = [], 0
        shard.append(name)
        held += size
    yield shard


def _bytes(dtype: Any, shape: Sequence[int]) -> int:
    return int(math.prod(shape) * dtype.itemsize)
