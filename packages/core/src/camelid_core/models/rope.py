"""RoPE scaling (longer contexts by scaling rotary positions): the recipe's text and the model configuration it means.

Knows configuration dictionaries of Transformers 5 (`rope_parameters`). Loads no model; what an older file leaves unsaid
(LLaMA's theta, Pythia's part of the head) Transformers knows and adds where a model is scaled.

`linear` is position interpolation (Chen et al. 2023, arXiv:2306.15595): positions are divided by the factor, so 8192
of them lie where 2048 were learned. `dynamic` changes the base with the length (NTK-aware); `yarn` is arXiv:2309.00071.
A model works only with the scaling it was trained with, so every artefact records it.

`max_position_embeddings` of a scaled model is the longer context, save under `dynamic`: there it stays what the base
has, for Transformers reads from it where scaling begins. `context_length` knows the difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from camelid_core.errors import UsageError

ROPE_TYPES = ("linear", "dynamic", "yarn")
MAX_FACTOR = 1024


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """`factor` times as many positions as the base has."""

    kind: str
    factor: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """`linear:4` and the like.

        Raises:
            UsageError: another kind, or a factor that is not above 1.
        """
        kind, _, number = text.partition(":")
        try:
            factor = float(number)
        except ValueError:
            factor = 0.0
        if kind not in ROPE_TYPES or not 1 < factor <= MAX_FACTOR:
            raise UsageError(
                f"rope {text!r} is not understood; give {', '.join(f'{each}:4' for each in ROPE_TYPES)} or the like, "
                f"with a factor above 1 and at most {MAX_FACTOR}."
            )
        return cls(kind, factor)


def context_length(config: Mapping[str, Any]) -> int | None:
    """How many positions a model with this configuration takes; None if it names no limit."""
    longest = config.get("max_position_embeddings")
    if not isinstance(longest, int):
        return None
    parameters = rope_parameters(config) or {}
    return int(longest * float(parameters.get("factor", 1))) if parameters.get("rope_type") == "dynamic" else longest


def rope_parameters(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The rotary parameters of a configuration, under the names of Transformers 5; None if it has none."""
    found = config.get("rope_parameters") or config.get("rope_scaling")
    theta = config.get("rope_theta")
    if not found and theta is None:
        return None
    parameters = {"rope_type": "default", **({"rope_theta": theta} if theta is not None else {}), **(found or {})}
    return {("rope_type" if key == "type" else key): value for key, value in parameters.items()}


def describe_scaling(config: Mapping[str, Any]) -> str:
    """`linear, factor 4, 8192 positions` and the like; empty for a model whose positions are not scaled."""
    parameters = rope_parameters(config) or {}
    kind = parameters.get("rope_type", "default")
    if kind == "default":
        return ""
    factor = f", factor {parameters['factor']:g}" if "factor" in parameters else ""
    longest = context_length(config)
    return f"{kind}{factor}" + (f", {longest} positions" if longest else "")


def with_older_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration whose scaling is also under `rope_scaling` and `rope_theta`, which programs before
    Transformers 5 read; any other unchanged."""
    parameters = config.get("rope_parameters")
    if not isinstance(parameters, Mapping) or not describe_scaling(config):
        return dict(config)
    theta = {"rope_theta": parameters["rope_theta"]} if "rope_theta" in parameters else {}
    return {**config, **theta, "rope_scaling": {**parameters, "type": parameters["rope_type"]}}
