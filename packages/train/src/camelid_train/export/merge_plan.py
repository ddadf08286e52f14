"""Before a merge: how large the merged model will be, and what it takes in memory. Read from headers alone.

Knows what is merged into what. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from camelid_core.errors import ModelError
from camelid_core.models.devices import available_memory
from camelid_core.models.resolved_model import ResolvedModel, resolve_model
from camelid_core.models.weight_files import FLOAT32_BYTES, WeightFiles
from camelid_core.plugins import load_host

from .exporter import ExportEstimate
from .merge_base import merge_target
from .merge_config import MergeConfig
from .stored_weights import plain_values, stored_as

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class MergeEstimate(ExportEstimate):
    """Also the name of the model that is merged into."""

    base: str = ""


def merge_estimate(config: MergeConfig) -> MergeEstimate:
    """What merging takes.

    Raises:
        UnknownName, ModelError: no adapter of that name, or no base that it can be merged into.
    """
    host = load_host()
    adapter = resolve_model(config.adapters[0].name, host)
    if adapter.adapter_dir is None:
        raise ModelError(f"{adapter.name!r} is a full model already; there is nothing to merge.")
    target = merge_target(config, adapter, host)
    values = plain_values(target)
    as_stored = config.dtype == "auto" and not stored_as(target)
    size = WeightFiles(target.base).size if as_stored else sum(values.values()) * _BYTES[_dtype(config, target)]
    return MergeEstimate(size, _memory(config, values), base=target.base_id)


def _dtype(config: MergeConfig, target: ResolvedModel) -> str:
    """The dtype of the merged weights."""
    stored = target.config.get("dtype") or target.config.get("torch_dtype")
    return config.dtype if config.dtype != "auto" else stored if stored in _BYTES else "float32"


def memory_whole_and_by_layer(values: Mapping[str, int]) -> tuple[int, int]:
    """Bytes: the base in float32; or the largest weight thrice: as it is, what is added, and merged. `values` is how
    many numbers each weight has."""
    return sum(values.values()) * FLOAT32_BYTES, 3 * FLOAT32_BYTES * max(values.values())


def _memory(config: MergeConfig, values: Mapping[str, int]) -> int:
    whole, by_layer = memory_whole_and_by_layer(values)
    if config.memory == "whole" or (config.memory == "auto" and whole < available_memory()):
        return whole
    return by_layer
