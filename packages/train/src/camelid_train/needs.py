"""What train's jobs need while they run: measured by the pre-flight of a like run, else estimated, else as given.

Knows recipes, estimates and the events of earlier runs. Imports no torch.
"""

from __future__ import annotations

from typing import Any

from camelid_core.events import read_events
from camelid_core.jobs.job import Job
from camelid_core.jobs.resources import Needs
from camelid_core.jobs.run_directories import EVENTS, attempts
from camelid_core.jobs.store import JobStore
from camelid_core.models.model_size import parameters
from camelid_core.models.resolved_model import resolve_model
from camelid_core.models.weight_files import FLOAT32_BYTES, WeightFiles
from camelid_core.plugins import load_host

from .config import Recipe
from .export.config import ExportConfig
from .export.exporter import exporter_of
from .export.merge_config import MergeConfig
from .memory_estimate import estimated_memory, with_allowance

_GB = 1_000_000_000
_BESIDE_A_CARD = 3 * _GB
"""Main memory of a process that computes on a card: libraries and what is on its way there."""
_SURE = 0.9
"""Share of the estimated weights that a run surely takes."""
_PAST_JOBS = 200
"""So many of the latest jobs are looked at for a like run."""
_SECTIONS = ("model", "method", "objective")
_FIELDS = (
    ("data", "cutoff"), ("train", "batch_size"), ("train", "gradient_checkpointing"), ("train", "compile"),
    ("launch", "processes"), ("launch", "nodes"), ("launch", "strategy"), ("launch", "zero"),
)  # fmt: skip
"""What else of a recipe decides how much memory it takes."""


def train(recipe: Recipe, store: JobStore) -> Needs:
    """A card for each process where the machine has any, else the processor."""
    launch = recipe.launch
    model = resolve_model(recipe.model.name, load_host())
    shards = launch.processes * launch.nodes if launch.strategy != "ddp" else 1
    on_card = estimated_memory(recipe, model, recipe.data.cutoff, bfloat16=True)
    here = estimated_memory(recipe, model, recipe.data.cutoff)
    peaks = _measured_peaks(recipe, store)
    card = peaks.get("cuda") or on_card.weights // shards + on_card.activations
    main = peaks.get("cpu") or here.total
    given_card, given_main = int((launch.gpu_memory or 0) * _GB), int((launch.memory or 0) * _GB)
    said = bool(given_card or given_main or launch.cores)
    processor = Needs(
        cores=launch.cores,
        memory=given_main or with_allowance("cpu", main, launch.processes),
        least=given_main or int(_SURE * here.weights // shards * launch.processes),
        source="given" if said else "measured" if "cpu" in peaks else "estimated",
    )
    return Needs(
        gpus=launch.processes,
        gpu_memory=given_card or with_allowance("cuda", card),
        cores=launch.cores or launch.processes,
        memory=given_main or _BESIDE_A_CARD * launch.processes,
        least=given_card or int(_SURE * on_card.weights // shards),
        source="given" if said else "measured" if "cuda" in peaks else "estimated",
        without_gpus=processor,
    )


def merge(config: MergeConfig, store: JobStore) -> Needs:
    """The base in float32, or layer by layer thrice the largest one, where that is all there is."""
    base = resolve_model(config.adapter, load_host()).base
    files = WeightFiles(base)
    layer = 3 * FLOAT32_BYTES * max(map(files.values, files.names))
    whole = FLOAT32_BYTES * parameters(base)
    return Needs(
        cores=1,
        memory=layer if config.memory == "layer" else whole,
        least=whole if config.memory == "whole" else layer,
        source="estimated",
    )


def export(config: ExportConfig, store: JobStore) -> Needs:
    """What its exporter estimates; a whole card where there is one, for some quantise on it."""
    exporter = exporter_of(config.to)
    source = resolve_model(config.source, load_host(), gguf=exporter.gguf)
    memory = int(exporter.estimate(source, config.to).memory)
    processor = Needs(memory=memory, source="estimated")
    return Needs(gpus=1, cores=1, memory=memory, source="estimated", without_gpus=processor)


def publish(config: Any, store: JobStore) -> Needs:
    """It waits for a network."""
    return Needs(cores=0)


def _measured_peaks(recipe: Recipe, store: JobStore) -> dict[str, int]:
    """Bytes by kind of device, as the newest like run on each measured them before its first step."""
    peaks: dict[str, int] = {}
    wanted = _decisive(recipe.model_dump(mode="json"))
    for job in store.list(limit=_PAST_JOBS):
        if job.task == "train" and _decisive(job.config) == wanted:
            for event in _preflights(job, store):
                device, peak = event.get("device"), event.get("peak_memory")
                if isinstance(device, str) and isinstance(peak, int) and peak > 0:
                    peaks.setdefault(device, peak)
    return peaks


def _preflights(job: Job, store: JobStore) -> list[dict[str, Any]]:
    found = (read_events(directory / EVENTS)[0] for directory in attempts(store.path.parent, job.id))
    return [event for events in found for event in events if event["kind"] == "preflight"]


def _decisive(config: Any) -> list[Any]:
    """What of a recipe decides how much memory it takes."""
    return [*(config.get(name) for name in _SECTIONS), *((config.get(part) or {}).get(name) for part, name in _FIELDS)]
