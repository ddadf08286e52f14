"""Target modules: which layers get an adapter: the recipe's, else the model family's, else inferred.

Knows names of linear layers, and parameters that hold all experts of a layer and are none. Knows no method and no model
family.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.models.adapters import UNKNOWN, ModelAdapter, infer_lora_targets

ALL_LINEAR = "all-linear"


def choose_targets(model: Any, requested: list[str], adapter: ModelAdapter) -> str | list[str]:
    """The layers to adapt. What the family takes no adapter on is `left_out`.

    Raises:
        ModelError: a named layer is not in the model, or is no linear layer.
    """
    names = linear_names(model, adapter)
    if requested == [ALL_LINEAR]:
        # peft's own all-linear would add experts and routers of some families, at ranks and with warnings of its own
        return sorted({name.rpartition(".")[2] for name in names}) if fused_experts(model) else ALL_LINEAR
    if requested:
        _refuse_left_out(model, requested, names, adapter)
        _refuse_fused(model, requested, names)
        check_targets(names, requested)
        return list(requested)
    present = {name.rpartition(".")[2] for name in names}
    return [name for name in adapter.lora_targets if name in present] or list(infer_lora_targets(names))


def check_targets(names: Iterable[str], chosen: Iterable[str]) -> None:
    """Raise ModelError for a layer that the model does not have."""
    present = {name.rpartition(".")[2] for name in names}
    missing = sorted(set(chosen) - present)
    if missing:
        raise ModelError(
            f"method.targets: this model has no linear layer {missing[0]!r}; it has {', '.join(sorted(present))}, "
            f'or use ["{ALL_LINEAR}"].'
        )


def _refuse_left_out(model: Any, requested: Iterable[str], names: Iterable[str], adapter: ModelAdapter) -> None:
    """Raise ModelError for a layer of the model that takes no adapter in its family."""
    taking = {name.rpartition(".")[2] for name in names}
    others = {name.rpartition(".")[2] for name in linear_names(model)} - taking
    if asked := sorted(others & set(requested)):
        raise ModelError(
            f"method.targets: {asked[0]!r} takes no adapter in models of the family {adapter.name!r}; these do: "
            f"{', '.join(sorted(taking))}."
        )


def _refuse_fused(model: Any, requested: Iterable[str], names: Iterable[str]) -> None:
    """Raise ModelError for a name that only experts have: of no linear layer, but of one parameter for all of them."""
    only_experts = fused_experts(model).keys() - {name.rpartition(".")[2] for name in names}
    if asked := sorted(only_experts & set(requested)):
        raise ModelError(
            f"method.targets: {asked[0]!r} is one parameter for all experts of a layer here, and no linear layer that "
            "LoRA could be put beside. Leave it out."
        )


def linear_names(model: Any, adapter: ModelAdapter = UNKNOWN) -> list[str]:
    """Dotted names of the linear layers, quantised ones among them; the output layer left out, and those that take no
    adapter in this family."""
    import torch
    from transformers.pytorch_utils import Conv1D

    head, pattern = model.get_output_embeddings(), left_out(model, adapter)
    return [
        name
        for name, module in model.named_modules()
        if module is not head
        and (isinstance(module, torch.nn.Linear | Conv1D) or hasattr(module, "qweight"))
        and not (pattern and re.fullmatch(pattern, name))
    ]


def left_out(model: Any, adapter: ModelAdapter) -> str | None:
    """A pattern of the names of layers that take no adapter in this family, as peft's `exclude_modules`; None where the
    model has none, of which peft would warn."""
    parts = "|".join(map(re.escape, adapter.no_lora))
    pattern = rf"(.*\.)?({parts})(\..*)?"
    return pattern if parts and any(re.fullmatch(pattern, name) for name, _ in model.named_modules()) else None


def stores_inputs_first(model: Any) -> bool:
    """Whether its linear layers store their weights as (inputs, outputs), as GPT-2's do (Conv1D): peft must be told."""
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in model.modules())


def fused_experts(model: Any) -> dict[str, int]:
    """Parameters that hold the weights of all experts of a layer (experts, rows, columns): how many numbers in all
    layers, by the last part of their names."""
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 3 and "expert" in name:
            counts[name.rpartition(".")[2]] += parameter.numel()
    return dict(counts)
