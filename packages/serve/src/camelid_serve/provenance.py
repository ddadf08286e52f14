"""What a result says about where it came from.

Knows manifests. Knows nothing of how answers are made or scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from camelid_core.artefacts import Base, DatasetUse, Kind, Licences, Manifest, TemplateContract
from camelid_core.config import Config
from camelid_core.integrity import fingerprint
from camelid_core.models import Reference
from camelid_core.plugins import load_host
from camelid_core.rope import rope_parameters

from .assemble import Assembled


def manifest_of(
    kind: Kind, assembled: Assembled, config: Config, metrics: Mapping[str, Any], datasets: Sequence[DatasetUse]
) -> Manifest:
    """The manifest of something this model produced: its base, template in force, settings and licences."""
    return manifest_for(kind, assembled.reference, config, metrics, datasets, assembled.contract())


def manifest_for(
    kind: Kind,
    reference: Reference,
    config: Config,
    metrics: Mapping[str, Any],
    datasets: Sequence[DatasetUse],
    template: TemplateContract | None = None,
) -> Manifest:
    """The same where nothing was asked through a template, or where several models were."""
    source = reference.manifest
    base = source.base if source is not None and source.base is not None else None
    return Manifest(
        kind=kind,
        base=base
        or Base(
            id=reference.base_id,
            path=str(reference.base),
            fingerprint=fingerprint(reference.base),
            model_type=str(reference.config.get("model_type", "")),
        ),
        template=template,
        datasets=list(datasets),
        parameters=config.model_dump(mode="json"),
        rope_scaling=rope_parameters(reference.config),
        licences=source.licences if source else Licences(base=reference.licence, effective=reference.licence),
        plugins={plugin.name: plugin.version for plugin in load_host().plugins},
        metrics=dict(metrics),
    )
