"""One file that is published: its name there, its size and SHA-256, and where its bytes are.

Knows bytes. Knows nothing of hubs, and not which files may leave.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from camelid_core.integrity import sha256

README = "README.md"


@dataclass(frozen=True, slots=True)
class OutgoingFile:
    """`source` is a file on this machine, whose bytes leave as they are, or the bytes themselves. `changed` says what
    was taken out of the file on this machine."""

    name: str
    source: Path | bytes
    size: int
    sha256: str
    changed: str = ""

    @classmethod
    def of(cls, name: str, source: Path | bytes, changed: str = "") -> OutgoingFile:
        if isinstance(source, bytes):
            return cls(name, source, len(source), hashlib.sha256(source).hexdigest(), changed)
        return cls(name, source, source.stat().st_size, sha256(source), changed)

    @property
    def content(self) -> bytes:
        """All its bytes. For small files."""
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()
