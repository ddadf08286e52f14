"""Memory check before loading: whether several models fit in memory at once.

Knows the size of weights in memory. KV caches and activations are small beside them, and left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from camelid_core.errors import CamelidError, ModelError
from camelid_core.models.devices import cpu_has_bf16, describe_device
from camelid_core.models.model_size import parameters

from .models import ModelService


def check_memory(models: ModelService, wanted: Sequence[str], loaded: Iterable[str]) -> None:
    """Refuse to load `wanted` where they do not fit beside each other; adapters of one base share its weights.

    Raises:
        ModelError: with what they need and what is free.
    """
    here = _bases(models, loaded)
    needed = _bases(models, wanted)
    device = describe_device()
    width = 2 if device.kind != "cpu" or cpu_has_bf16() else 4
    needs = sum(parameters(base) for base in needed - here) * width
    free = device.free + sum(parameters(base) for base in here - needed) * width
    if needs > free:
        raise ModelError(
            f"{' and '.join(wanted)} need {needs / 1e9:.1f} GB more memory, and {free / 1e9:.1f} GB are free; "
            "compare with the base of an adapter, or with another adapter of it: they share its memory."
        )


def _bases(models: ModelService, names: Iterable[str]) -> set[Path]:
    found = set()
    for name in names:
        try:
            found.add(models.resolve(name).base)
        except CamelidError:
            continue  # what is gone from the disk is not counted
    return found
