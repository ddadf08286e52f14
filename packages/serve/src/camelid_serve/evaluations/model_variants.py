"""Models × ways of stretching their positions → what is compared, each under a label.

Knows references and rotary scaling. Loads no weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid_core.integrity import fingerprint
from camelid_core.models.loading import scaled
from camelid_core.models.reference import Reference, read_config, resolve_model
from camelid_core.models.rope import RopeScaling, context_length, rope_parameters
from camelid_core.plugins import Host


@dataclass(frozen=True, slots=True)
class Variant:
    """One curve of the plot. `rope` is empty for a model as it is."""

    label: str
    model: str
    rope: str
    reference: Reference

    @property
    def takes(self) -> int | None:
        """Positions it is meant for."""
        return context_length(self.reference.config)

    def as_json(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "model": self.model,
            "base": self.reference.base_id,
            "fingerprint": fingerprint(self.reference.base),
            "rope": rope_parameters(self.reference.config),
            "base_context": context_length(read_config(self.reference.base)),
            "context": self.takes,
        }


def variants(models: Sequence[str], ropes: Sequence[str], host: Host, report: Callable[[str], None]) -> list[Variant]:
    """Every model as it is and in each way of `ropes`; one that was trained stretched stays as it is.

    Raises:
        UnknownName, ModelError: no such model, or one without rotary positions to stretch.
    """
    return [
        each
        for model, label in zip(models, _labels(models), strict=True)
        for each in _of(model, label, ropes, host, report)
    ]


def _of(model: str, label: str, ropes: Sequence[str], host: Host, report: Callable[[str], None]) -> Iterator[Variant]:
    reference = resolve_model(model, host)
    yield Variant(label, model, "", reference)
    own = rope_parameters(reference.config) or {}
    if ropes and own.get("rope_type", "default") != "default":
        report(f"{label} is stretched already ({own['rope_type']}, factor {own.get('factor')}) and stays as it is.")
        return
    for rope in ropes:
        yield Variant(f"{label} {rope}", model, rope, scaled(reference, RopeScaling.parse(rope)))


def _labels(models: Sequence[str]) -> list[str]:
    """The last part of each name where that tells them apart, else the whole name."""
    short = [Path(model).name or model for model in models]
    seen = Counter(short)
    return [name if seen[name] == 1 else model for name, model in zip(short, models, strict=True)]
