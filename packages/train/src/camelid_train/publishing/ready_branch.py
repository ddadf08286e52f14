"""One branch made ready to leave: its files as they leave, and its manifest without this machine's paths.

Knows an artefact, the licence texts of its base, and that GGUF files share a branch. Knows no card and no hub.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from camelid_core.artefacts import FileEntry, Manifest

from .cards.gguf_sections import FILES
from .cards.proof_lines import OVERRIDDEN, has_failed, proof_of
from .file_selection import LeftOut, licence_files, manifest_file, published_manifest, select_files
from .outgoing_file import README, OutgoingFile
from .redaction import Redactor
from .source_branches import SourceBranch


@dataclass(frozen=True, slots=True)
class ReadyBranch:
    """`files` are without card and manifest; `manifest` lists them. `licences` are the names of licence texts."""

    source: SourceBranch
    files: tuple[OutgoingFile, ...]
    left_out: tuple[LeftOut, ...]
    manifest: Manifest
    licences: tuple[str, ...]

    def with_card(self, card: OutgoingFile) -> tuple[OutgoingFile, ...]:
        """All files of the branch."""
        return (card, *self.files, manifest_file(with_card(self.manifest, card)))


def ready_branch(source: SourceBranch, redactor: Redactor, override_proof: str) -> ReadyBranch:
    """Raises ArtefactError: a path or a secret is where nothing can be changed."""
    manifest = source.artefact.manifest
    selection = select_files(source.artefact, redactor)
    taken = {each.name for each in selection.files}
    base = base_directory(manifest)
    brought = tuple(licence_files(base, taken, redactor)) if base else ()
    files = (*selection.files, *brought)
    own = {each.name for each in licence_files(source.artefact.path, set(), redactor)}
    licences = sorted((own & taken) | {each.name for each in brought})
    if has_failed(proof_of(manifest)):
        manifest = _with_parameter(manifest, OVERRIDDEN, override_proof)
    if source.role == "GGUF":
        made = {"proof": dict(proof_of(manifest)), OVERRIDDEN: manifest.parameters.get(OVERRIDDEN, "")}
        manifest = _with_parameter(manifest, FILES, {each.name: made for each in files if each.name.endswith(".gguf")})
    published = published_manifest(manifest, files, redactor)
    return ReadyBranch(source, files, selection.left_out, published, tuple(licences))


def with_earlier_files(branch: ReadyBranch, sibling: ReadyBranch | None, earlier: Manifest | None) -> ReadyBranch:
    """GGUF files of several artefacts share a branch: those that are there stay, in files and in the manifest.
    `sibling` is published together with it, `earlier` was before."""
    before = sibling.manifest if sibling else earlier
    if before is None:
        return branch
    own = branch.manifest
    named = {**(before.parameters.get(FILES) or {}), **own.parameters[FILES]}
    entries = {name: entry for name, entry in before.files.items() if name != README} | own.files
    manifest = _with_parameter(own, FILES, named).model_copy(update={"files": entries})
    if sibling is None:
        return replace(branch, manifest=manifest)
    names = {each.name for each in branch.files}
    kept = tuple(each for each in sibling.files if each.name not in names)
    left_out = (*sibling.left_out, *branch.left_out)
    return replace(branch, files=(*kept, *branch.files), left_out=left_out, manifest=manifest)


def with_card(manifest: Manifest, card: OutgoingFile) -> Manifest:
    """The manifest that also lists the card."""
    entry = FileEntry(size=card.size, sha256=card.sha256)
    return manifest.model_copy(update={"files": {**manifest.files, README: entry}})


def base_directory(manifest: Manifest) -> Path | None:
    """Where the base model lies on this machine, None where it is not here."""
    path = Path(manifest.base.path) if manifest.base and manifest.base.path else None
    return path if path and path.is_dir() else None


def _with_parameter(manifest: Manifest, name: str, value: object) -> Manifest:
    return manifest.model_copy(update={"parameters": {**manifest.parameters, name: value}})
