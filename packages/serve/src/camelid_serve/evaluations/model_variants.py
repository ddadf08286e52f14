"""Models × RoPE scalings → the variants to compare, each under a label.

Knows resolved models and RoPE scaling. Loads no weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid_core.integrity import fingerprint
from camelid_core.models.loading import with_rope_scaling
from camelid_core.models.resolved_model import ResolvedModel, read_config, resolve_model
from camelid_core.models.rope import RopeScaling, context_length, rope_parameters
from camelid_core.plugins import Host


@dataclass(frozen=True, slots=True)
class Variant:
    """One curve of the plot: a model, with a RoPE scaling in `rope` or, where that is empty, as it is."""

    label: str
    model: str
    rope: str
    resolved: ResolvedModel

    @property
    def context_length(self) -> int | None:
        """Context length that its configuration gives."""
        return context_length(self.resolved.config)

    def as_json(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "model": self.model,
            "base": self.resolved.base_id,
            "fingerprint": fingerprint(self.resolved.base),
            "rope": rope_parameters(self.resolved.config),
            "base_context": context_length(read_config(self.resolved.base)),
            "context": self.context_length,
        }


def variants(models: Sequence[str], ropes: Sequence[str], host: Host, report: Callable[[str], None]) -> list[Variant]:
    """Every model as it is and under each scaling of `ropes`; one that was trained with a scaling stays as it is.

    Raises:
        UnknownName, ModelError: no such model, or one without rotary positions.
    """
    return [
        each
        for model, label in zip(models, _labels(models), strict=True)
        for each in _variants_of(model, label, ropes, host, report)
    ]


def _variants_of(
    model: str, label: str, ropes: Sequence[str], host: Host, report: Callable[[str], None]
) -> Iterator[Variant]:
    resolved = resolve_model(model, host)
    yield Variant(label, model, "", resolved)
    own = rope_parameters(resolved.config) or {}
    if ropes and own.get("rope_type", "default") != "default":
        report(f"{label} has RoPE scaling already ({own['rope_type']}, factor {own.get('factor')}) and stays as it is.")
        return
    for rope in ropes:
        yield Variant(f"{label} {rope}", model, rope, with_rope_scaling(resolved, RopeScaling.parse(rope)))


def _labels(models: Sequence[str]) -> list[str]:
    """The last part of each name where that tells them apart, else the whole name."""
    short = [Path(model).name or model for model in models]
    seen = Counter(short)
    return [name if seen[name] == 1 else model for name, model in zip(short, models, strict=True)]
