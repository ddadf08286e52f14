"""Target modules: which layers get an adapter: the recipe's, else the model family's, else inferred.

Knows names of linear layers. Knows no method and no model family.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.models.adapters import ModelAdapter, infer_lora_targets

ALL_LINEAR = "all-linear"


def choose_targets(model: Any, requested: list[str], adapter: ModelAdapter) -> str | list[str]:
    """The layers to adapt.

    Raises:
        ModelError: a named layer is not in the model.
    """
    if requested == [ALL_LINEAR]:
        return ALL_LINEAR
    names = linear_names(model)
    chosen = list(requested or adapter.lora_targets or infer_lora_targets(names))
    check_targets(names, chosen)
    return chosen


def check_targets(names: Iterable[str], chosen: Iterable[str]) -> None:
    """Raise ModelError for a layer that the model does not have."""
    present = {name.rpartition(".")[2] for name in names}
    missing = sorted(set(chosen) - present)
    if missing:
        raise ModelError(
            f"method.targets: this model has no linear layer {missing[0]!r}; it has {', '.join(sorted(present))}, "
            f'or use ["{ALL_LINEAR}"].'
        )


def linear_names(model: Any) -> list[str]:
    """Dotted names of the linear layers, quantised ones among them, the output layer left out."""
    import torch
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if module is not head and (isinstance(module, torch.nn.Linear | Conv1D) or hasattr(module, "qweight"))
    ]
