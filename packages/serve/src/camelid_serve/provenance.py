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
    effective_licence,
)
from camelid_core.config import Config
from camelid_core.integrity import fingerprint
from camelid_core.models.resolved_model import Reference
from camelid_core.models.rope import rope_parameters
from camelid_core.plugins import load_host

from .loaded_models import LoadedModel


def model_manifest(
    kind: ArtefactKind, loaded: LoadedModel, config: Config, metrics: Mapping[str, Any], datasets: Sequence[DatasetUse]
) -> Manifest:
    """The manifest of a result of this model: its base, template, settings and licences."""
    return result_manifest(kind, loaded.reference, config, metrics, datasets, loaded.contract())


def result_manifest(
    kind: ArtefactKind,
    reference: Reference,
    config: Config,
    metrics: Mapping[str, Any],
    datasets: Sequence[DatasetUse],
    template: TemplateContract | None = None,
) -> Manifest:
    """The same for a result without a template, or of several models."""
    source = reference.manifest
    return Manifest(
        kind=kind,
        base=base_entry(reference),
        template=template,
        datasets=list(datasets),
        parameters=config.model_dump(mode="json"),
        rope_scaling=rope_parameters(reference.config),
        licences=source.licences if source else Licences(base=reference.licence, effective=reference.licence),
        plugins={plugin.name: plugin.version for plugin in load_host().plugins},
        metrics=dict(metrics),
    )


def base_entry(reference: Reference) -> BaseModelEntry:
    """The base model that its manifest names; else the model itself."""
    if reference.manifest is not None and reference.manifest.base is not None:
        return reference.manifest.base
    return BaseModelEntry(
        id=reference.base_id,
        path=str(reference.base),
        fingerprint=fingerprint(reference.base),
        model_type=str(reference.config.get("model_type", "")),
    )


def with_all_models(manifest: Manifest, models: Mapping[str, Reference]) -> Manifest:
    """The manifest with the base of each model by its label, and the strictest licence, where there are several."""
    if len({(model.base, model.peft) for model in models.values()}) < 2:
        return manifest
    licence = effective_licence({label: model.licence for label, model in models.items()})
    bases = {label: base_entry(model) for label, model in models.items()}
    return manifest.model_copy(update={"models": bases, "licences": Licences(base=licence, effective=licence)})


def weights_identity(reference: Reference) -> list[str]:
    """Digests that identify the weights, whatever the model's name."""
    if reference.peft is None:
        return [fingerprint(reference.base)]
    files = reference.manifest.files.values() if reference.manifest else ()
    return [fingerprint(reference.base), *(sorted(entry.sha256 for entry in files) or [str(reference.peft)])]
