"""File integrity: which formats may be loaded, whether files are the ones that were written, and atomic writes.

Knows file names, magic bytes, safetensors headers and SHA-256. Knows nothing of manifests.
safetensors is no checksum: a flipped bit or a zeroed tail loads without error.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any

from . import staging
from .durable_directories import fsync_directory as fsync_directory
from .errors import ArtefactError, ModelError, UnsafeFormat
from .file_permissions import PRIVATE_FILE_MODE

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".mdl", ".joblib")
_MAX_HEADER = 25_000_000
_MAX_TENSORS = 200_000
"""Several times what the largest models have in one file: 100,000 tensors take some 12 MB to list."""
_MAX_COMMAS_PER_TENSOR = 8
"""That of a tensor with five dimensions: a list has no more values than commas."""
_MAX_NAME, _MAX_RANK, _MAX_NUMBER = 1000, 16, 2**63


def refuse_pickles(directory: Path) -> None:
    """Raise UnsafeFormat if any file below `directory` is a pickle, by name or by content."""
    for path in sorted(directory.rglob("*")):
        if path.is_file() and (path.suffix.lower() in PICKLE_SUFFIXES or _looks_pickled(path)):
            raise UnsafeFormat(
                f"{path.name!r} in {str(directory)!r} can run code when loaded (a pickle). "
                "Only safetensors weights are taken; convert the model where you trust it."
            )


def _looks_pickled(path: Path) -> bool:
    """A bare pickle, or a zip archive (torch's format) that says it is safetensors.

    A safetensors file may start with a pickle's two bytes, the low end of its header's length; zeros follow there.
    """
    with path.open("rb") as file:
        start = file.read(4)
        if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and start[2:3] != b"\0":
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"."
        return start == b"PK\x03\x04" and path.suffix == ".safetensors"


def safetensors_header(path: Path) -> dict[str, Any]:
    """Names, types and shapes of the tensors in a file, without reading the tensors.

    Raises:
        ArtefactError: the header is damaged, or larger than that of any model, or the file is cut short.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        raw = file.read(8)
        length = struct.unpack("<Q", raw)[0] if len(raw) == 8 else size
        if length > size - 8:
            raise ArtefactError(
                f"{path.name!r} is no safetensors file: its header claims {length:,} of {size:,} bytes."
            )
        if length > _MAX_HEADER:
            raise ArtefactError(_too_large(path, f"{length:,} bytes of header", f"{_MAX_HEADER:,}"))
        header = _header(path, file.read(length))
    end = max((item["data_offsets"][1] for name, item in header.items() if name != "__metadata__"), default=0)
    if 8 + length + end != size:
        raise ArtefactError(
            f"{path.name!r} has {size:,} bytes where its header needs {8 + length + end:,}: it is damaged."
        )
    return header


def _header(path: Path, text: bytes) -> dict[str, Any]:
    """The parsed header. Its size is bounded by counting before any of it becomes an object."""
    tensors, commas = text.count(b"{") - 1, text.count(b",")
    if tensors > _MAX_TENSORS:
        raise ArtefactError(_too_large(path, f"{tensors:,} tensors", f"{_MAX_TENSORS:,}"))
    most = _MAX_COMMAS_PER_TENSOR * _MAX_TENSORS
    if commas > most:
        raise ArtefactError(_too_large(path, f"{commas:,} values in its header", f"{most:,}"))
    try:
        header = json.loads(text)
        sound = all(_is_tensor(name, item) for name, item in header.items() if name != "__metadata__")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise ArtefactError(f"{path.name!r} is no safetensors file: its header cannot be read.")
    return header  # type: ignore[no-any-return]


def _is_tensor(name: str, item: Any) -> bool:
    shape, offsets = item["shape"], item["data_offsets"]
    return (
        len(name) <= _MAX_NAME
        and isinstance(item["dtype"], str)
        and len(shape) <= _MAX_RANK
        and len(offsets) == 2
        and all(type(number) is int and 0 <= number < _MAX_NUMBER for number in (*shape, *offsets))
    )


def _too_large(path: Path, found: str, most: str) -> str:
    return (
        f"{path.name!r} has {found}, and {most} are the most that are read of one file; no model needs more. "
        "If it is sound, save it in several files."
    )


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(directory: Path) -> str:
    """Digest that identifies a base model: configuration, tensor names and shapes, tokenizer, and a sample of the
    weights; of a model in one file its size and a sample.

    Raises:
        ModelError: no configuration or no safetensors weights there.
    """
    if directory.is_file():
        return hashlib.sha256(str(directory.stat().st_size).encode() + _sample(directory)).hexdigest()
    weights = sorted(directory.glob("*.safetensors"))
    if not (directory / "config.json").is_file() or not weights:
        raise ModelError(f"{str(directory)!r} holds no model: config.json and *.safetensors are needed.")
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    for volatile in ("transformers_version", "_name_or_path", "_model_name_or_path"):
        config.pop(volatile, None)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    tokenizer = directory / "tokenizer.json"
    digest.update(sha256(tokenizer).encode() if tokenizer.is_file() else b"")
    for path in weights:
        header = safetensors_header(path)
        header.pop("__metadata__", None)
        digest.update(json.dumps({name: item["shape"] for name, item in header.items()}, sort_keys=True).encode())
        digest.update(_sample(path))
    return digest.hexdigest()


def _sample(path: Path, pieces: int = 16, size: int = 4096) -> bytes:
    """A few blocks spread over a file, so that models of equal shapes with other weights differ."""
    total = path.stat().st_size
    with path.open("rb") as file:
        sample = bytearray()
        for index in range(1, pieces + 1):
            file.seek(max(0, total * index // pieces - size))
            sample += file.read(size)
    return bytes(sample)


def write_durably(path: Path, data: bytes, private: bool = False) -> None:
    """Write atomically and durably: readers see the old file or the new one, never half of either. A `private` file
    can be read by its owner alone."""
    with staging.file(path, PRIVATE_FILE_MODE if private else 0o666) as staged:
        with staged.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
        fsync_directory(path.parent)
