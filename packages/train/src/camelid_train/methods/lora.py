"""LoRA: low-rank adapters beside frozen weights, through peft.

Knows targets and ranks. Knows nothing of data or of the loop.
"""

from __future__ import annotations

from typing import Any

from camelid_core.adapters import ModelAdapter, infer_targets
from camelid_core.errors import ModelError

from camelid_train.config import LoraMethod

ALL_LINEAR = "all-linear"


def prepare(model: Any, method: LoraMethod, adapter: ModelAdapter, base_name: str) -> Any:
    """`model` with fresh adapters on it; only they are trained."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=method.r,
        lora_alpha=method.alpha,
        lora_dropout=method.dropout,
        target_modules=targets(model, method, adapter),
        task_type="CAUSAL_LM",
    )
    peft_model = get_peft_model(model, config)
    peft_model.peft_config["default"].base_model_name_or_path = base_name
    return peft_model


def targets(model: Any, method: LoraMethod, adapter: ModelAdapter) -> str | list[str]:
    """The layers to adapt: the recipe's, else the family's, else inferred.

    Raises:
        ModelError: a named layer is not in the model.
    """
    if method.targets == [ALL_LINEAR]:
        return ALL_LINEAR
    names = linear_names(model)
    chosen = list(method.targets or adapter.lora_targets or infer_targets(names))
    there = {name.rpartition(".")[2] for name in names}
    missing = sorted(set(chosen) - there)
    if missing:
        raise ModelError(
            f"method.targets: this model has no linear layer {missing[0]!r}; it has {', '.join(sorted(there))}, "
            f'or use ["{ALL_LINEAR}"].'
        )
    return chosen


def linear_names(model: Any) -> list[str]:
    """Dotted names of the linear layers, the output layer left out."""
    import torch
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
    ]
