"""What is published: artefacts as they lie here, each with the role that it has in its family and its branch.

An artefact is verified, and refused where it must not be published. Knows kinds of artefacts and directories of several
branches. Knows nothing of hubs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from camelid_core.artefacts import Artefact, is_artefact, read_artefact, verify_directory
from camelid_core.errors import ArtefactError, UnknownName, UsageError
from camelid_core.json_files import object_in
from camelid_core.models.hub_names import MAIN, valid_branch
from camelid_core.paths import artefacts_dir, validated_path

from .cards.proof_lines import has_failed, proof_of
from .gptq_recipe import GptqRecipe

_PRECISIONS = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}
_ROLES = {
    "adapter": ("adapter", "peft"),
    "gptq": ("GPTQ", "GPTQ"),
    "gguf": ("GGUF", "GGUF"),
    "diff": ("weight diff", "diff"),
}
SUFFIXES = {suffix: role for role, suffix in _ROLES.values()} | dict.fromkeys(_PRECISIONS.values(), "merged")
"""What is added to a repository's name, and the role that it stands for."""


@dataclass(frozen=True, slots=True)
class SourceBranch:
    """One artefact: `role` and `suffix` say which repository of the family it belongs into, `branch` which branch
    there, empty where that depends on the others."""

    artefact: Artefact
    role: str
    suffix: str
    branch: str = ""


def read_sources(names: Sequence[str], branch: str, override_proof: str) -> list[SourceBranch]:
    """The artefacts, verified, and that may be published.

    Raises:
        UnknownName: there is none of that name.
        ArtefactError: a file is not the one that was written, its proof failed, or it is of a kind that stays here.
        UsageError: one branch for several artefacts.
    """
    found = [each for name in names for each in _sources(_directory(name))]
    if branch and len(found) > 1:
        raise UsageError(
            f"branch {branch!r} was given for {len(found)} artefacts; leave it out, or publish one by one."
        )
    for each in found:
        _refuse(each, override_proof)
    return [SourceBranch(each.artefact, each.role, each.suffix, branch or each.branch) for each in found]


def precision(directory: Path) -> str:
    """How an unquantised model is stored: fp16, bf16 or fp32."""
    config = object_in(directory / "config.json")
    return _PRECISIONS.get(str(config.get("dtype") or config.get("torch_dtype") or "float32"), "fp32")


def _directory(name: str) -> Path:
    for path in (validated_path(name, "artefact"), artefacts_dir() / name):
        if path.is_dir():
            return path.resolve()
    here = [path.name for path in artefacts_dir().iterdir()] if artefacts_dir().is_dir() else []
    raise UnknownName("artefact", name, here)


def _sources(directory: Path) -> Iterator[SourceBranch]:
    inside = [path for path in sorted(directory.iterdir()) if path.is_dir() and is_artefact(path)]
    if is_artefact(directory) and not (inside and read_artefact(directory).manifest.kind == "gptq"):
        yield _source(directory, "")
        return
    if not inside:
        raise ArtefactError(
            f"{str(directory)!r} is no artefact of Camelid: neither it nor a directory in it has camelid.json."
        )
    for path in inside:
        yield _source(path, valid_branch(path.name) if read_artefact(path).manifest.kind == "gptq" else "")


def _source(directory: Path, branch: str) -> SourceBranch:
    artefact = verify_directory(directory)
    manifest = artefact.manifest
    stored = (manifest.parameters.get("export") or {}).get("quantization")
    if manifest.kind == "model" and stored:
        return SourceBranch(artefact, str(stored), str(stored), branch)
    if manifest.kind == "model":
        return SourceBranch(artefact, "merged", precision(directory), branch)
    role, suffix = _ROLES.get(manifest.kind, (manifest.kind, manifest.kind))
    recipe = GptqRecipe.of(manifest)
    own = recipe.default_branch if manifest.kind == "gptq" and recipe.bits else ""
    return SourceBranch(artefact, role, suffix, branch or own)


def _refuse(source: SourceBranch, override_proof: str) -> None:
    name, manifest = str(source.artefact.path), source.artefact.manifest
    if manifest.kind not in (*_ROLES, "model"):
        raise ArtefactError(f"{name!r} holds {manifest.kind}, which are made of rows and stay on this machine.")
    if manifest.kind == "diff" and not (manifest.parameters.get("diff") or {}).get("recovered_sha256"):
        raise ArtefactError(
            f"{name!r} is a diff without the hash of the model that it recovers: nobody could tell whether they got "
            "it. Make it with `camelid diff make`."
        )
    proof = proof_of(manifest)
    if has_failed(proof) and not override_proof:
        raise ArtefactError(
            f"{name!r} failed its proof ({proof.get('failed') or 'see metrics.proof in its camelid.json'}): it does "
            "not answer as the model it was made from. Export it with more bits; or, if it must be, publish it with "
            "--override-proof REASON, which its card will show."
        )


def with_branches(sources: Sequence[SourceBranch], existing: Sequence[str]) -> list[SourceBranch]:
    """The sources of one repository, each with its branch. Without a `main` the first one becomes it.

    Raises:
        UsageError: two would be one branch.
    """
    named = [SourceBranch(each.artefact, each.role, each.suffix, each.branch or MAIN) for each in sources]
    if MAIN not in (*existing, *(each.branch for each in named)):
        first = next((each for each in named if GptqRecipe.of(each.artefact.manifest).is_default), named[0])
        named[named.index(first)] = SourceBranch(first.artefact, first.role, first.suffix, MAIN)
    taken: dict[str, SourceBranch] = {}
    for each in named:
        if each.branch in taken and each.role != "GGUF":
            both = f"{str(taken[each.branch].artefact.path)!r} and {str(each.artefact.path)!r}"
            raise UsageError(f"{both} would both be branch {each.branch!r}; publish them one by one, with --branch.")
        taken[each.branch] = each
    return named
