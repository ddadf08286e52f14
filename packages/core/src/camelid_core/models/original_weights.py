"""A checkpoint's original weights, one tensor at a time: safetensors, or PyTorch's own files read as data alone.

PyTorch's files are pickles; they are loaded with `weights_only=True`, which makes tensors and nothing else, and mapped,
so that a file's tensors are read from disk as they are used. Knows files. Knows nothing of what the tensors mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.json_files import object_in

from .weight_files import DTYPES, WeightFiles

_SINGLE = "pytorch_model.bin"
_INDEX = "pytorch_model.bin.index.json"


class OriginalWeights:
    """The tensors of a directory by name, whichever of the two formats they are in.

    Raises:
        ModelError: no weights, a file that is missing, cut short or holds more than tensors, or a tensor in two files.
        ArtefactError: a damaged safetensors file.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._safetensors = WeightFiles(directory) if any(directory.glob("*.safetensors")) else None
        self._files: dict[str, Path] = {}
        self._facts: dict[str, tuple[Any, tuple[int, ...]]] = {}
        self._open: tuple[Path, dict[str, Any]] | None = None
        for path in () if self._safetensors else _torch_files(directory):
            self._note(path)

    @property
    def names(self) -> list[str]:
        return self._safetensors.names if self._safetensors else sorted(self._files)

    def __contains__(self, name: str) -> bool:
        return name in (self._safetensors or self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._safetensors.shape(name) if self._safetensors else self._facts[name][1]

    def dtype(self, name: str) -> Any:
        """The torch dtype that it is stored in."""
        return self._safetensors.torch_dtype(name) if self._safetensors else self._facts[name][0]

    def tensor(self, name: str) -> Any:
        """The torch tensor, on the CPU, in the dtype it is stored in."""
        if self._safetensors:
            return self._safetensors.tensor(name)
        path = self._files[name]
        if self._open is None or self._open[0] != path:
            self._open = None  # before the next file is opened: at most one is in memory
            self._open = (path, torch_tensors(path))
        return self._open[1][name]

    def _note(self, path: Path) -> None:
        for name, tensor in torch_tensors(path).items():
            if name in self._files:
                raise ModelError(f"{self._files[name].name!r} and {path.name!r} both hold {name!r}; remove one.")
            self._files[name] = path
            self._facts[name] = (tensor.dtype, tuple(tensor.shape))


def _torch_files(directory: Path) -> Sequence[Path]:
    places = object_in(directory / _INDEX).get("weight_map")
    names = sorted({Path(str(file)).name for file in places.values()}) if isinstance(places, dict) else [_SINGLE]
    if absent := [name for name in names if not (directory / name).is_file()]:
        if absent == [_SINGLE]:
            raise ModelError(f"{str(directory)!r} holds no weights (*.safetensors or {_SINGLE}).")
        raise ModelError(f"{str(directory)!r} lacks {', '.join(absent)}, which its index names. Copy it again, whole.")
    return [directory / name for name in names]


def torch_tensors(path: Path) -> dict[str, Any]:
    """The tensors of a file of PyTorch's, mapped. Raises ModelError: missing, damaged, or more than tensors."""
    import torch

    try:
        try:
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            found = torch.load(path, map_location="cpu", weights_only=True)  # the format before PyTorch 1.6
    except Exception as error:  # whatever a damaged or hostile pickle makes of itself
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{path.name!r} in {str(path.parent)!r} cannot be read as tensors alone: {reason} Copy it again, whole."
        ) from None
    if not isinstance(found, dict):
        raise ModelError(f"{path.name!r} holds a {type(found).__name__}, not tensors by name.")
    plain = {f"torch.{name}" for name in DTYPES.values()}
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor) or str(tensor.dtype) not in plain:
            raise ModelError(f"{path.name!r} holds {name!r}, which is no plain tensor.")
    return found
