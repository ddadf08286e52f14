"""GGUF files as they are written: metadata first, then tensors one after another, in one file or in several.

Knows the package `gguf`, and how llama.cpp names the parts of a file that was cut. One tensor is in memory at a time.
Knows nothing of models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from camelid_train.saving.disk_space import require

from .number_formats import row_bytes


class Entry(NamedTuple):
    """A tensor that will be written: its number format, and its shape as (rows, columns)."""

    number_format: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape[:-1]) * row_bytes(self.number_format, self.shape[-1])


class FileWriter:
    """Writes a file in the order of `entries`; `limit` is the most bytes of tensors in one file, 0 for one file."""

    def __init__(
        self, path: Path, architecture: str, metadata: Mapping[str, Any], entries: Mapping[str, Entry], limit: int = 0
    ) -> None:
        import gguf
        import numpy as np

        self._path, self._largest = path, max(entry.size for entry in entries.values())
        self._writer = gguf.GGUFWriter(path, architecture, split_max_size=limit)
        for key, value in metadata.items():
            _adder(self._writer, value)(key, value)
        for name, entry in entries.items():
            kind = gguf.GGMLQuantizationType[entry.number_format]
            self._writer.add_tensor_info(name, entry.shape, np.dtype(np.float32), entry.size, raw_dtype=kind)

    def write(self, tensors: Iterable[Any]) -> None:
        """The bytes of all tensors, in their order.

        Raises:
            DiskFull: there is no room for them.
        """
        writer = self._writer
        try:
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for data in tensors:
                writer.write_tensor_data(data)
        except OSError:
            require(self._path.parent, self._largest, f"writing {self._path.name!r}")
            raise
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
