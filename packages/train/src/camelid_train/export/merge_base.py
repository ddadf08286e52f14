"""Which base an adapter is merged into: its own; where that is stored quantised, the full-precision model it was made
from, or its own weights dequantised.

Knows manifests and how to tell whether two models are of one origin. Merges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from camelid_core.artefacts import BaseModelEntry, is_artefact, read_artefact
from camelid_core.errors import CamelidError, ModelError
from camelid_core.integrity import fingerprint
from camelid_core.models.loading import check_adapter_base
from camelid_core.models.resolved_model import ResolvedModel, resolve_model
from camelid_core.models.weight_files import WeightFiles
from camelid_core.plugins import Host
from camelid_core.tasks import TaskContext

from .merge_config import MergeConfig
from .stored_weights import BITSANDBYTES, GPTQ, stored_as

_DEQUANTISED_HERE = (GPTQ, BITSANDBYTES)
_NEAR = 0.01
"""Of the largest value: what storing an unquantised tensor in another dtype may change."""


def merge_target(config: MergeConfig, resolved: ResolvedModel, host: Host) -> ResolvedModel:
    """The model whose weights the adapter is merged into: its own base, or a full-precision model in its place.

    Raises:
        ModelError: there is none in full precision, or weights of this kind cannot be dequantised.
    """
    stored = stored_as(resolved)
    if config.base_model:
        found = resolve_model(config.base_model, host, gguf=False)
    elif not stored:
        return resolved
    elif config.weights == "as-trained":
        if stored not in _DEQUANTISED_HERE:
            raise ModelError(
                f"the base of {resolved.name!r} is stored as {stored}, which is not dequantised here; "
                f"those that are: {', '.join(_DEQUANTISED_HERE)}. Name the full-precision model with base_model."
            )
        return resolved
    else:
        found = _original(resolved, stored, host)
    if found.adapter_dir is not None or stored_as(found):
        raise ModelError(f"{found.name!r} is no full-precision model; base_model must name one.")
    return resolved if found.base == resolved.base else found


def with_merge_base(config: MergeConfig, resolved: ResolvedModel, host: Host, context: TaskContext) -> ResolvedModel:
    """The adapter on the base that it is to be merged into; where this is another than it was trained on, it is said.

    Raises:
        ModelError: there is none in full precision, it is not the one that the quantised one was made from, or
            weights of this kind cannot be dequantised.
    """
    found = merge_target(config, resolved, host)
    if found is resolved:
        return resolved
    manifest = resolved.manifest
    if stored_as(resolved):
        check_adapter_base(resolved)
        _check_origin(resolved, found)
        if manifest is not None:
            manifest = manifest.model_copy(update={"base": _entry(found)})
    context.emit("log", text=f"Merging into {found.name!r}, not into {str(resolved.base)!r}, which it was trained on.")
    return replace(
        resolved, base=found.base, config=found.config, adapter=found.adapter, base_id=found.base_id, manifest=manifest
    )


def _entry(found: ResolvedModel) -> BaseModelEntry:
    return BaseModelEntry(
        id=found.base_id,
        path=str(found.base),
        fingerprint=fingerprint(found.base),
        model_type=str(found.config.get("model_type", "")),
    )


def _original(resolved: ResolvedModel, stored: str, host: Host) -> ResolvedModel:
    """The full-precision model that a quantised one was made from, as its manifest says."""
    reasons = []
    for candidate in _candidates(resolved.base):
        try:
            found = resolve_model(candidate, host, gguf=False)
        except CamelidError as problem:
            reasons.append(str(problem))
            continue
        if found.adapter_dir is None and not stored_as(found):
            return found
    raise ModelError(
        f"the base of {resolved.name!r} is stored quantised ({stored}), and adapters are merged into full-precision "
        f"weights. {' '.join(reasons) or 'No manifest names the model that it was made from.'} Name that model with "
        'base_model, or merge into the dequantised weights with weights="as-trained".'
    )


def _candidates(directory: Path) -> Iterator[str]:
    if not is_artefact(directory):
        return
    manifest = read_artefact(directory).manifest
    source = (manifest.parameters.get("export") or {}).get("source") or {}
    yield from filter(None, (source.get("path"), source.get("name")))
    if not source and manifest.base is not None:
        yield from filter(None, (manifest.base.path, manifest.base.id))


def _check_origin(quantised: ResolvedModel, plain: ResolvedModel) -> None:
    """Raise ModelError unless tensors that are quantised in neither are the same in both, as norms are."""
    ours, theirs = WeightFiles(quantised.base), WeightFiles(plain.base)
    shared = [name for name in ours.names if name in theirs and ours.shape(name) == theirs.shape(name)]
    norms = [name for name in shared if len(ours.shape(name)) == 1]
    off = [name for name in norms if not _near(ours.tensor(name), theirs.tensor(name))]
    if not norms or off:
        what = f"{off[0]!r} differs" if off else "they share no tensor"
        raise ModelError(
            f"{plain.name!r} is not the model that {str(quantised.base)!r} was made from: {what}. Name that one with "
            "base_model."
        )


def _near(ours: Any, theirs: Any) -> bool:
    ours, theirs = ours.float(), theirs.float()
    return bool((ours - theirs).abs().max() <= _NEAR * (1e-6 + theirs.abs().max()))
