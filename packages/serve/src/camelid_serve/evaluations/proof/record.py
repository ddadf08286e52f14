"""Recording a proof in the export itself: proof.json, the manifest's `metrics.proof`, and a block of its card.

Knows artefacts and markers. Knows nothing of what was measured.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from camelid_core.artefact_additions import add_to_artefact
from camelid_core.artefacts import is_artefact, read_artefact
from camelid_core.errors import UsageError
from camelid_core.models.gguf import is_gguf
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.paths import artefacts_dir

PROOF, CARD = "proof.json", "README.md"
START, END = "<!-- proof start -->", "<!-- proof end -->"
_BLOCK = re.compile(f"{re.escape(START)}.*?{re.escape(END)}", re.DOTALL)


def with_manifest(resolved: ResolvedModel) -> ResolvedModel:
    """A GGUF file that is named by its own path, with the manifest of the artefact that it is a file of."""
    if resolved.manifest is not None or not is_gguf(resolved.base) or not is_artefact(resolved.base.parent):
        return resolved
    manifest = read_artefact(resolved.base.parent).manifest
    return replace(resolved, manifest=manifest) if resolved.base.name in manifest.files else resolved


def recording_place(export: ResolvedModel, wanted: bool | None) -> Path | None:
    """The artefact that the proof goes into, None where it goes nowhere.

    Without a wish, an export among the artefacts in Camelid's home gets it: what lies elsewhere is somebody's own copy.

    Raises:
        UsageError: it is wanted, and the export is no artefact or cannot be written.
    """
    directory = export.adapter_dir or (export.base.parent if is_gguf(export.base) else export.base)
    sound = export.manifest is not None and is_artefact(directory)
    if wanted and not sound:
        raise UsageError(
            f"--record writes into the export, and {export.name!r} is no artefact: it has no camelid.json. "
            "Leave --record out; the result is kept by itself."
        )
    if wanted and not os.access(directory, os.W_OK):
        raise UsageError(
            f"--record cannot write into {str(directory)!r}. Change its permissions, or leave --record out."
        )
    exported = export.manifest is not None and not {"export", "merge"}.isdisjoint(export.manifest.parameters)
    at_home = directory.resolve().is_relative_to(artefacts_dir().resolve()) and os.access(directory, os.W_OK)
    return directory if wanted or (wanted is None and sound and exported and at_home) else None


def record(directory: Path, results: str, metrics: Mapping[str, Any], section: str) -> None:
    """Write the proof into the artefact in `directory`, in place of an earlier one.

    Raises:
        ArtefactError: its manifest is damaged.
        OSError: it cannot be written.
    """
    files = {PROOF: results}
    card = directory / CARD
    if card.is_file():
        files[CARD] = with_section(card.read_text(encoding="utf-8"), section)
    add_to_artefact(directory, files, {"proof": dict(metrics)})


def with_section(card: str, section: str) -> str:
    """The card with the section between its markers, at the end if there are none; everything else as it was."""
    block = f"{START}\n{section.strip()}\n{END}"
    if _BLOCK.search(card):
        return _BLOCK.sub(lambda _: block, card, count=1)
    return f"{card.rstrip()}\n\n{block}\n"
