"""An artefact that was made on another machine, with the paths in it as the server has them, and its manifest true.

Knows text files and the manifest. Knows nothing of what the texts say.
"""

from __future__ import annotations

from pathlib import Path

from camelid_core.artefacts import MANIFEST, FileEntry, Manifest, read_artefact
from camelid_core.integrity import sha256, write_durably

from .path_translation import PathTranslation

_TEXTS = (".json", ".md", ".toml", ".txt", ".yaml")
_MOST_BYTES = 8 << 20
"""Larger files are data and no descriptions."""


def relocate(directory: Path, paths: PathTranslation) -> None:
    """Raises ArtefactError: it has no manifest."""
    manifest = read_artefact(directory).manifest
    files = dict(manifest.files)
    for name in files:
        path = directory / name
        if path.suffix in _TEXTS and path.stat().st_size <= _MOST_BYTES and _rewritten(path, paths):
            files[name] = FileEntry(size=path.stat().st_size, sha256=sha256(path))
    there = paths.there(manifest.model_dump(mode="json", exclude={"files"}))
    relocated = Manifest.model_validate({**there, "files": files})
    if relocated != manifest:
        write_durably(directory / MANIFEST, relocated.model_dump_json(indent=2).encode())


def _rewritten(path: Path, paths: PathTranslation) -> bool:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    there = paths.there(text)
    if there != text:
        write_durably(path, there.encode())
    return bool(there != text)
