"""The result files of an evaluation of several models: results, a plot where matplotlib is installed, and a manifest.

Knows files of the artefact. Knows nothing of how anything was measured.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from camelid_core.artefacts import DatasetUse, TemplateContract, write_manifest
from camelid_core.config import Config
from camelid_core.errors import MissingPackage
from camelid_core.integrity import fingerprint
from camelid_core.tasks import TaskContext

from camelid_serve.provenance import result_manifest, with_all_models

from .model_variants import Variant
from .plots import Draw, save_plots

RESULTS = "results.json"


def write_results(
    context: TaskContext,
    config: Config,
    variants: Sequence[Variant],
    results: Mapping[str, Any],
    metrics: Mapping[str, Any],
    draw: Draw,
    dataset: DatasetUse | None = None,
    template: TemplateContract | None = None,
) -> None:
    """Write everything to `context.output`, the manifest last. The manifest's base is that of the first model."""
    context.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (context.output / RESULTS).write_text(text, encoding="utf-8")
    try:
        save_plots(draw, results, context.output)
    except MissingPackage as error:
        context.emit("log", text=str(error))
    used = [dataset] if dataset is not None else []
    manifest = result_manifest("evaluation", variants[0].resolved, config, metrics, used, template)
    write_manifest(context.output, with_all_models(manifest, {variant.model: variant.resolved for variant in variants}))


def read_results(directory: Path) -> dict[str, Any]:
    """What `write_results` wrote."""
    values: dict[str, Any] = json.loads((directory / RESULTS).read_text(encoding="utf-8"))
    return values


def work_identity(config: Config, variants: Sequence[Variant], *more: str) -> str:
    """Digest of settings and models: results of an earlier attempt are reused only where it is the same."""
    settings = config.model_dump(exclude={"output"}, mode="json")
    models = [[variant.label, fingerprint(variant.resolved.base), _adapter_digests(variant)] for variant in variants]
    return hashlib.sha256(json.dumps([settings, models, more], sort_keys=True).encode()).hexdigest()


def _adapter_digests(variant: Variant) -> list[str]:
    """Digests of an adapter's files; none for a whole model."""
    manifest = variant.resolved.manifest
    if variant.resolved.adapter_dir is None:
        return []
    return (
        sorted(entry.sha256 for entry in manifest.files.values()) if manifest else [str(variant.resolved.adapter_dir)]
    )
