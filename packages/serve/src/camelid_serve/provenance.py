"""Provenance of results: their manifests.

Knows manifests. Knows nothing of how answers are made or scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from camelid_core.artefacts import (
    ArtefactKind,
    BaseModelEntry,
    DatasetUse,
    Licences,
    Manifest,
    TemplateContract,
)
from camelid_core.config import Config
from camelid_core.integrity import fingerprint
from camelid_core.licences import combined
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.models.rope import rope_parameters
from camelid_core.plugins import load_host

from .loaded_models import LoadedModel


def model_manifest(
    kind: ArtefactKind, loaded: LoadedModel, config: Config, metrics: Mapping[str, Any], datasets: Sequence[DatasetUse]
) -> Manifest:
    """The manifest of a result of this model: its base, template, settings and licences."""
    return result_manifest(kind, loaded.resolved, config, metrics, datasets, loaded.contract())


def result_manifest(
    kind: ArtefactKind,
    resolved: ResolvedModel,
    config: Config,
    metrics: Mapping[str, Any],
    datasets: Sequence[DatasetUse],
    template: TemplateContract | None = None,
) -> Manifest:
    """The same for a result without a template, or of several models."""
    source = resolved.manifest
    return Manifest(
        kind=kind,
        base=base_entry(resolved),
        template=template,
        datasets=list(datasets),
        parameters=config.model_dump(mode="json"),
        rope_scaling=rope_parameters(resolved.config),
        licences=source.licences if source else Licences.of(resolved.licence),
        plugins={plugin.name: plugin.version for plugin in load_host().plugins},
        metrics=dict(metrics),
    )


def base_entry(resolved: ResolvedModel) -> BaseModelEntry:
    """The base model that its manifest names; else the model itself."""
    if resolved.manifest is not None and resolved.manifest.base is not None:
        return resolved.manifest.base
    return BaseModelEntry(
        id=resolved.base_id,
        path=str(resolved.base),
        fingerprint=fingerprint(resolved.base),
        model_type=str(resolved.config.get("model_type", "")),
    )


def with_all_models(manifest: Manifest, models: Mapping[str, ResolvedModel]) -> Manifest:
    """The manifest with the base of each model by its label, and the licences of all, where there are several."""
    if len({(model.base, model.adapter_dir) for model in models.values()}) < 2:
        return manifest
    terms = [each for model in models.values() for each in model.generator]
    licences = Licences.of(combined(model.licence for model in models.values()), generator=terms)
    bases = {label: base_entry(model) for label, model in models.items()}
    return manifest.model_copy(update={"models": bases, "licences": licences})


def weights_identity(resolved: ResolvedModel) -> list[str]:
    """Digests that identify the weights, whatever the model's name."""
    if resolved.adapter_dir is None:
        return [fingerprint(resolved.base)]
    files = resolved.manifest.files.values() if resolved.manifest else ()
    return [fingerprint(resolved.base), *(sorted(entry.sha256 for entry in files) or [str(resolved.adapter_dir)])]
