"""One branch: a model quantised by one recipe, in a directory; and branches that were finished before.

Knows what of a branch must agree for it to be the same. Knows nothing of how the directory is published.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid_core.artefacts import is_artefact, read_artefact, verify_directory
from camelid_core.errors import CamelidError
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.models.weight_files import WeightFiles
from camelid_train.export.exporter import ExportContext, ExportResult
from camelid_train.monitoring.stop_rules import raise_if_stop_requested

from .calibration import Calibration
from .packed_weights import write_weights
from .quantiser import GptqmodelProcess
from .quantize_config import (
    QUANTIZE_CONFIG,
    quantization_entry,
    quantize_config,
    quantize_config_text,
    weights_metadata,
)
from .section import GptqSection

_SAME = ("bits", "group_size", "desc_act", "damp", "sym", "true_sequential", "zero_bias", "calibration", "source")


@dataclass(frozen=True, slots=True)
class Work:
    """What all branches of an export share. `source` is its digest (`integrity.fingerprint`); `dtype` is what the model
    is computed in while it is calibrated; `scratch` is an empty directory, and `process` is started when it is needed.
    """

    model: ResolvedModel
    digest: str
    calibration: Calibration
    dtype: str
    scratch: Path
    context: ExportContext
    process: Callable[[], GptqmodelProcess]


def make_branch(section: GptqSection, directory: Path, work: Work, before: int = 0, of: int = 1) -> ExportResult:
    """Quantise the model into `directory`, which exists. `before` of `of` branches are done.

    Raises:
        ModelError: GPTQModel failed, or the model does not fit the format.
        Interrupted: a stop was requested.
    """
    begun = time.monotonic()
    (recipe,) = section.all_recipes
    packed, request = work.scratch / "packed", _request(section, work)
    report = _reporter(work.context, recipe.branch, before, of)
    tool = work.process().run(request, work.scratch / "request.json", report)
    values = quantize_config(recipe, section.sym, section.true_sequential)
    metadata = weights_metadata(recipe, tool)
    write_weights(WeightFiles(packed), WeightFiles(work.model.base), directory, metadata, section.zero_bias)
    (directory / QUANTIZE_CONFIG).write_text(quantize_config_text(values), encoding="utf-8")
    _write_config(directory, work.model.config, quantization_entry(values))
    made = {"tool": tool, "seconds": round(time.monotonic() - begun, 1), "group_aware": request["group_aware"]}
    return ExportResult(parameters={**made, **identity(section, work)})


def identity(section: GptqSection, work: Work) -> dict[str, Any]:
    """What makes a branch what it is, and is kept of it: its recipe, its calibration, its source."""
    (recipe,) = section.all_recipes
    kept = {"calibration": work.calibration.entry, "damp": recipe.damp, "source": work.digest}
    return {name: kept.get(name, getattr(section, name, None)) for name in _SAME}


def finished_branch(section: GptqSection, work: Work, places: Iterable[Path]) -> Path | None:
    """A branch in one of `places` that is the same and whole."""
    (recipe,) = section.all_recipes
    for place in places:
        directory = place / recipe.branch
        if is_artefact(directory) and _is_same(directory, identity(section, work)):
            return directory
    return None


def _is_same(directory: Path, wanted: Mapping[str, Any]) -> bool:
    try:
        made = read_artefact(directory).manifest.parameters.get("export", {})
        if {name: made.get(name) for name in wanted} != wanted:
            return False
        verify_directory(directory)
    except (CamelidError, OSError):
        return False
    return True


def _request(section: GptqSection, work: Work) -> dict[str, Any]:
    (recipe,) = section.all_recipes
    return {
        "model": str(work.model.base),
        "output": str(work.scratch / "packed"),
        "scratch": str(work.scratch / "offloaded"),
        "bits": recipe.bits,
        "group_size": recipe.group_size,
        "desc_act": recipe.desc_act,
        "damp": recipe.damp,
        "sym": section.sym,
        "true_sequential": section.true_sequential,
        # act-order inside of each group, which costs no kernel anything
        "group_aware": not recipe.desc_act and recipe.group_size > 0,
        "dtype": work.dtype,
        "batch": 1,
        "calibration": work.calibration.rows,
    }


def _reporter(context: ExportContext, branch: str, before: int, of: int) -> Callable[[dict[str, Any]], None]:
    """Progress over the layers of all branches, and notes."""

    def report(message: dict[str, Any]) -> None:
        if note := message.get("note"):
            context.say(f"{branch}: {note}")
        if "done" in message:
            total = message["total"]
            context.progress(before * total + message["done"], of * total, "layers", branch)
        raise_if_stop_requested(context.task)

    return report


def _write_config(directory: Path, config: Mapping[str, Any], entry: Mapping[str, Any]) -> None:
    key = "torch_dtype" if "torch_dtype" in config else "dtype"
    text = json.dumps({**config, key: "float16", "quantization_config": entry}, indent=2, ensure_ascii=False)
    (directory / "config.json").write_text(text + "\n", encoding="utf-8")
