"""Before an export: what it is made of, what it will take, and whether that fits on this machine. Imports no torch.

Knows estimates, memory and disks. Knows no format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.jobs import JobState, JobStore
from camelid_core.models.devices import available_memory
from camelid_core.models.gguf import is_gguf
from camelid_core.models.loading import check_weight_files
from camelid_core.models.resolved_model import ResolvedModel, resolve_model
from camelid_core.models.weight_files import WeightFiles
from camelid_core.plugins import Host, load_host

from camelid_train.saving.disk_space import require

from .config import ExportConfig
from .exporter import Exporter, ExportEstimate, exporter_of
from .merge_base import merge_target
from .merge_config import MergeConfig
from .stored_weights import stored_as

_PAST_JOBS = 500
"""So many of the latest jobs are looked at for exports."""


def check(
    config: ExportConfig, source: ResolvedModel, disk: Path, speeds: Mapping[str, float] | None = None
) -> ExportEstimate:
    """The estimate of an export that can be done here; of its time by `speeds`, as `past_speeds` gives them.

    Raises:
        ModelError: it cannot, as its exporter says, or there is not enough memory.
        DiskFull: the result does not fit.
    """
    exporter = exporter_of(config.to)
    if not exporter.whole and source.adapter_dir is None:
        raise ModelError(f"{config.source!r} is no adapter; {exporter.name!r} is made of adapters.")
    whole = _as_merged(source) if needs_merge(exporter, source) else source
    estimate = exporter.estimate(whole, config.to)
    if estimate.refusal:
        raise ModelError(f"{config.source!r} cannot be exported to {exporter.name!r}: {estimate.refusal}")
    free = available_memory()
    if estimate.memory > free:
        raise ModelError(
            f"exporting {config.source!r} to {exporter.name!r} needs about {estimate.memory:,} bytes of memory, and "
            f"{free:,} are free. Close other programs, or use a machine with more."
        )
    merged = _size_of_weights(whole) if needs_merge(exporter, source) else 0
    needed = estimate.size + estimate.scratch + merged
    require(disk, needed, f"exporting to {exporter.name!r}")
    speed = (speeds or {}).get(exporter.suffix(config.to))
    return replace(estimate, seconds=round(speed * _size_of_weights(source), 1) if speed else None)


def needs_merge(exporter: Exporter[Any], source: ResolvedModel) -> bool:
    """Whether the source is merged before: it is an adapter, and the format is of whole models."""
    return exporter.whole and source.adapter_dir is not None


def announcement(estimate: ExportEstimate) -> str:
    """What is said of an export before it begins."""
    time = f", in about {estimate.seconds:,.0f} s" if estimate.seconds else ""
    return f"About {estimate.size / 1e6:,.0f} MB will be written{time}. {estimate.note}".rstrip()


def done_as(config: ExportConfig, source: ResolvedModel) -> Mapping[str, Any]:
    """What a job's summary keeps of an export, by which the next one's time is estimated."""
    return {"format": exporter_of(config.to).suffix(config.to), "source_bytes": _size_of_weights(source)}


def past_speeds(store: JobStore) -> Mapping[str, float]:
    """Format → seconds per byte of the source's weights, in the last export to it on this machine. It says nothing
    exact: a small model takes as long as the libraries take to be loaded."""
    speeds: dict[str, float] = {}
    for job in store.list([JobState.SUCCEEDED], _PAST_JOBS):
        name, size = job.summary.get("format"), job.summary.get("source_bytes")
        if name and size and job.started and job.ended:
            speeds.setdefault(str(name), (job.ended - job.started) / float(size))
    return speeds


def export_source(config: ExportConfig, host: Host) -> ResolvedModel:
    """The model or adapter to export.

    Raises:
        UnknownName, ModelError: there is none, or it is stored in a format that nothing else can be made of.
    """
    name, exporter = config.source, exporter_of(config.to)
    source = resolve_model(name, host, gguf=exporter.gguf)
    if exporter.gguf:
        if not is_gguf(source.base) or source.adapter_dir is not None:
            raise ModelError(f"{name!r} is no GGUF file; {exporter.name!r} is made of those.")
        return source
    stored = stored_as(source)
    if stored and source.adapter_dir is None:
        raise ModelError(f"{name!r} is stored quantised ({stored}); export the model that it was made from.")
    check_weight_files(source.base)
    return source


def _as_merged(source: ResolvedModel) -> ResolvedModel:
    """The adapter on the base that it will be merged into, which is another where its own is stored quantised."""
    target = merge_target(MergeConfig(adapter=source.name), source, load_host())
    return replace(source, base=target.base, config=target.config)


def _size_of_weights(source: ResolvedModel) -> int:
    return source.base.stat().st_size if is_gguf(source.base) else WeightFiles(source.base).size
