"""One shard: the tokens of a few thousand conversations in one safetensors file.

Tensors: `ids` (int32, all rows concatenated), `trained` (one bit per token), `offsets` (int64, where
each row starts, and the end). Metadata: rows, tokens, a SHA-256 of the tensors, and what a listing
shows. Knows files. Knows nothing of templates or tokenizers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid_core.errors import ArtefactError
from camelid_core.integrity import safetensors_header, write_durably
from camelid_core.tokenization.encoder import TokenArrays

SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class ShardLayout:
    """The byte offsets of a shard's tensors in its file, and its counts."""

    path: Path
    rows: int
    tokens: int
    ids: int
    trained: int
    offsets: int


def write(path: Path, tokens: TokenArrays, metadata: dict[str, str]) -> None:
    """Write a shard atomically, with `metadata` in its header."""
    import numpy as np
    from safetensors.numpy import save

    tensors = {"ids": tokens.ids, "trained": np.packbits(tokens.trained), "offsets": tokens.offsets}
    counts = {"rows": str(len(tokens.offsets) - 1), "tokens": str(len(tokens.ids))}
    data = save(tensors, {**metadata, **counts, "sha256": _digest(tensors)})
    write_durably(path, data, private=True)


def read(path: Path) -> tuple[ShardLayout, TokenArrays] | None:
    """A shard, verified by its digest, or None if it is missing or damaged."""
    import numpy as np

    with contextlib.suppress(OSError, ArtefactError, ValueError, LookupError, TypeError):
        layout, digest = read_layout(path)
        data = path.read_bytes()
        ids = np.frombuffer(data, np.int32, layout.tokens, layout.ids)
        bits = np.frombuffer(data, np.uint8, -(-layout.tokens // 8), layout.trained)
        offsets = np.frombuffer(data, np.int64, layout.rows + 1, layout.offsets)
        if _digest({"ids": ids, "trained": bits, "offsets": offsets}) == digest:
            return layout, TokenArrays(ids, np.unpackbits(bits, count=layout.tokens).view(np.bool_), offsets)
    return None


def read_layout(path: Path) -> tuple[ShardLayout, str]:
    """The layout of a shard, from its header alone, and the digest that its tensors should have.

    Raises:
        ArtefactError: no sound header.
    """
    header = safetensors_header(path)
    with path.open("rb") as file:
        start = 8 + struct.unpack("<Q", file.read(8))[0]
    metadata = header["__metadata__"]
    at = {name: start + int(header[name]["data_offsets"][0]) for name in ("ids", "trained", "offsets")}
    return ShardLayout(path, int(metadata["rows"]), int(metadata["tokens"]), **at), str(metadata["sha256"])


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata in a shard's header, without reading its tensors; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(min(length, 1 << 20)))
        return {str(name): str(value) for name, value in header["__metadata__"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, struct.error):
        return {}


def mark_used(path: Path) -> None:
    """Record the time of its last use. A read-only cache stays usable."""
    with contextlib.suppress(OSError):
        os.utime(path)


def _digest(tensors: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name in ("ids", "trained", "offsets"):
        digest.update(tensors[name].data)
    return digest.hexdigest()
