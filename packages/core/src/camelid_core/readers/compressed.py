"""Compressed data files, read as what they hold: gzip and Zstandard, a piece at a time and never whole.

Knows magic bytes and suffixes of the two. Knows nothing of what is inside.
"""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

from camelid_core.errors import MissingPackage

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
COMPRESSED_SUFFIXES = (".gz", ".zst")
DAMAGED = (EOFError, zlib.error)
"""Raised while a damaged gzip file is read, besides OSError."""


def uncompressed_name(path: Path) -> Path:
    """The path without the suffix of a compression: `rows.csv` of `rows.csv.gz`."""
    return path.with_suffix("") if path.suffix.lower() in COMPRESSED_SUFFIXES else path


def is_compressed(start: bytes) -> bool:
    return start.startswith((GZIP, ZSTD))


def uncompressed(file: BinaryIO, start: bytes) -> BinaryIO:
    """What `file`, which begins with `start`, holds: itself unless it is compressed.

    Raises:
        MissingPackage: Zstandard is read through pyarrow.
    """
    if start.startswith(GZIP):
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    return cast(BinaryIO, io.BufferedReader(_Zstandard(file), 1 << 20)) if start.startswith(ZSTD) else file


class _Zstandard(io.RawIOBase):
    """pyarrow's stream, with the place in it: messages name the byte that is no text."""

    def __init__(self, file: BinaryIO) -> None:
        try:
            import pyarrow
        except ImportError:
            raise MissingPackage(
                "Zstandard files need pyarrow. Type: pip install 'camelid-core[data]', or unpack the file."
            ) from None
        self._stream: Any = pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), "zstd")
        self._at = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = int(self._stream.readinto(buffer))
        self._at += count
        return count

    def tell(self) -> int:
        return self._at
