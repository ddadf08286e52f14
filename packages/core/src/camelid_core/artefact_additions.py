"""Files and metrics that a published artefact gets later, such as a proof.

Knows the order of writes in which the directory agrees with its manifest whenever a kill or a power cut comes: replaced
files leave the manifest first, then they are written, and the manifest that lists them comes last. Knows nothing of
what is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .artefacts import MANIFEST, Artefact, FileEntry, Manifest, read_artefact
from .integrity import sha256, write_durably


def add_to_artefact(directory: Path, files: Mapping[str, str], metrics: Mapping[str, Any]) -> Artefact:
    """Write texts by file name into an artefact, and add `metrics` to its manifest. Weights are not read.

    Raises:
        ArtefactError: there is no sound manifest.
        OSError: something cannot be written; what was there before is whole.
    """
    manifest = read_artefact(directory).manifest
    kept = {name: entry for name, entry in manifest.files.items() if name not in files}
    if len(kept) < len(manifest.files):
        _write(directory, manifest.model_copy(update={"files": kept}))
    for name, text in files.items():
        write_durably(directory / name, text.encode())
    added = {name: _entry(directory / name) for name in files}
    update = {"files": dict(sorted({**kept, **added}.items())), "metrics": {**manifest.metrics, **metrics}}
    complete = manifest.model_copy(update=update)
    _write(directory, complete)
    return Artefact(directory, complete)


def _entry(path: Path) -> FileEntry:
    return FileEntry(size=path.stat().st_size, sha256=sha256(path))


def _write(directory: Path, manifest: Manifest) -> None:
    write_durably(directory / MANIFEST, manifest.model_dump_json(indent=2).encode())
