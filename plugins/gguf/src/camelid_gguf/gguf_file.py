"""GGUF files as they are written: metadata first, then tensors one after another, in one file or in several.

Knows the package `gguf`, and how llama.cpp names the parts of a file that was cut. One tensor is in memory at a time.
Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .number_formats import row_bytes

_ALIGNMENT = 32
"""Tensors begin at multiples of this."""


class Entry(NamedTuple):
    """A tensor that will be written: its number format, and its shape as (rows, columns)."""

    number_format: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        rows = 1
        for each in self.shape[:-1]:
            rows *= each
        return rows * row_bytes(self.number_format, self.shape[-1])


def padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


class FileWriter:
    """Writes a file in the order of `entries`; `limit` is the most bytes of tensors in one file, 0 for one file."""

    def __init__(
        self, path: Path, architecture: str, metadata: Mapping[str, Any], entries: Mapping[str, Entry], limit: int = 0
    ) -> None:
        import gguf
        import numpy as np

        self._writer = gguf.GGUFWriter(path, architecture, split_max_size=limit)
        for key, value in metadata.items():
            _adder(self._writer, value)(key, value)
        for name, entry in entries.items():
            kind = gguf.GGMLQuantizationType[entry.number_format]
            self._writer.add_tensor_info(name, entry.shape, np.dtype(np.float32), entry.size, raw_dtype=kind)

    def write(self, tensors: Iterable[Any]) -> None:
        """The bytes of all tensors, in their order."""
        writer = self._writer
        try:
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for data in tensors:
                writer.write_tensor_data(data)
        finally:
            writer.close()


def write_file(path: Path, architecture: str, metadata: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
    """Write a small file of numpy arrays in float32 or float16."""
    formats = {"float32": "F32", "float16": "F16"}
    entries = {name: Entry(formats[str(each.dtype)], each.shape) for name, each in tensors.items()}
    FileWriter(path, architecture, metadata, entries).write(tensors.values())


def _adder(writer: Any, value: Any) -> Callable[[str, Any], None]:
    """The method that writes values of that type; whole numbers are unsigned, as llama.cpp reads them."""
    for kind, method in (
        (bool, "add_bool"), (int, "add_uint32"), (float, "add_float32"), (str, "add_string"), (list, "add_array")
    ):  # fmt: skip
        if isinstance(value, kind):
            found: Callable[[str, Any], None] = getattr(writer, method)
            return found
    raise TypeError(f"{value!r} has no type of GGUF")


def metadata_bytes(metadata: Mapping[str, Any]) -> int:
    """How many bytes the metadata takes."""
    return sum(12 + len(key.encode()) + _value_bytes(value) for key, value in metadata.items())


def _value_bytes(value: Any) -> int:
    if isinstance(value, str):
        return 8 + len(value.encode())
    if isinstance(value, list):
        return 12 + sum(_value_bytes(each) for each in value)
    return 1 if isinstance(value, bool) else 4
