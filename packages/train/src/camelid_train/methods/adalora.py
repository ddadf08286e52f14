"""AdaLoRA: LoRA whose ranks are reallocated while training to the layers that use them.

Knows the rank schedule, the orthogonality regularisation, and the moving averages that a checkpoint must store.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from camelid_core.errors import ConfigError
from pydantic import Field

from camelid_train.sections import Method

from .lora import set_base_path
from .targets import choose_targets, left_out, stores_inputs_first
from .tuning_method import MethodContext, TuningMethod

_AVERAGES = ("ipt", "exp_avg_ipt", "exp_avg_unc")


class AdaLoraMethod(Method):
    """AdaLoRA: LoRA that gives each layer a rank of its own while training (adaptive budget allocation)."""

    type: Literal["adalora"] = "adalora"
    initial_r: int = Field(12, ge=1, le=1024)
    """Initial rank of every layer; the default is 1.5 times the target rank, as in the paper.
    Also: `init_r`, `adalora_init_r`."""
    target_r: int = Field(8, ge=1, le=1024)
    """Target rank: the mean rank over all layers at the end of training. Also: `target_r`, `lora_r`."""
    alpha: float = Field(16, gt=0)
    """LoRA alpha: the update of a layer is multiplied by alpha / its rank. Also: `lora_alpha`."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """LoRA dropout: probability with which an input of the adapter is zeroed while training; 0 turns it off.
    Also: `lora_dropout`."""
    targets: list[str] = []
    """Target modules: the linear layers that get an adapter; empty takes the model family's own, ["all-linear"] takes
    every linear layer but the output layer. Also: `target_modules`, `lora_target_modules`, `lora_target`."""
    warmup_steps: int | None = Field(None, ge=0)
    """Optimizer steps at the initial rank before the first pruning of ranks; empty takes a tenth of the run.
    Also: `tinit`, `adalora_tinit`."""
    final_steps: int | None = Field(None, ge=0)
    """Optimizer steps at the end with fixed ranks; empty takes a third of the run. Also: `tfinal`, `adalora_tfinal`."""
    every: int = Field(10, ge=1)
    """Optimizer steps between two reallocations of ranks. Also: `deltaT`, `adalora_delta_t`."""
    beta1: float = Field(0.85, gt=0, lt=1)
    """Smoothing factor of the moving average of each rank's sensitivity; nearer 1 averages over more steps, the default
    is the paper's."""
    beta2: float = Field(0.85, gt=0, lt=1)
    """Smoothing factor of the moving average of that sensitivity's uncertainty; the default is the paper's."""
    orthogonality: float = Field(0.5, ge=0)
    """Weight of the orthogonality regularisation that is added to the loss; 0 turns it off. Also: `orth_reg_weight`."""


class AdaLora(TuningMethod[AdaLoraMethod]):
    name = "adalora"
    help = "AdaLoRA: LoRA with adaptive ranks, higher in layers that use them; better at the same size, slower."
    config = AdaLoraMethod

    def prepare(self, model: Any, section: AdaLoraMethod, context: MethodContext) -> Any:
        from peft import AdaLoraConfig, get_peft_model

        first, last = rank_schedule(section, context.steps)
        config = AdaLoraConfig(
            task_type="CAUSAL_LM",
            init_r=section.initial_r,
            target_r=section.target_r,
            lora_alpha=section.alpha,
            lora_dropout=section.dropout,
            target_modules=choose_targets(model, section.targets, context.adapter),
            exclude_modules=left_out(model, context.adapter),
            fan_in_fan_out=stores_inputs_first(model),
            tinit=first,
            tfinal=last,
            deltaT=section.every,
            beta1=section.beta1,
            beta2=section.beta2,
            orth_reg_weight=section.orthogonality,
            total_step=context.steps,
        )
        return set_base_path(get_peft_model(model, config), context)

    def penalty(self, model: Any) -> Any:
        """Orthogonality regularisation; peft adds it only to a loss that the model itself computes."""
        import torch

        weight = _config(model).orth_reg_weight
        matrices = [(name, tensor) for name, tensor in model.named_parameters() if _is_adapter_matrix(name)]
        if not weight or not matrices:
            return None
        total = torch.zeros((), device=matrices[0][1].device)
        for name, tensor in matrices:
            product = tensor @ tensor.T if "lora_A" in name else tensor.T @ tensor
            total = total + torch.linalg.matrix_norm(product - torch.eye(len(product), device=tensor.device))
        return weight * total / len(matrices)

    def after_step(self, model: Any, step: int) -> None:
        model.base_model.update_and_allocate(step)

    def state(self, model: Any) -> dict[str, Any]:
        import torch

        allocator = model.base_model.rankallocator
        tensors = {f"{kind}/{name}": tensor for kind in _AVERAGES for name, tensor in getattr(allocator, kind).items()}
        ranks = (_config(model).rank_pattern or {}).items()
        return tensors | {f"rank/{name}": torch.tensor(kept, dtype=torch.uint8) for name, kept in ranks}

    def restore(self, model: Any, state: Mapping[str, Any]) -> None:
        allocator, ranks = model.base_model.rankallocator, {}
        device = next(model.parameters()).device
        allocator.reset_ipt()
        for key, tensor in state.items():
            kind, _, name = key.partition("/")
            if kind == "rank":
                ranks[name] = [bool(kept) for kept in tensor.tolist()]
            else:
                getattr(allocator, kind)[name] = tensor.to(device)
        _config(model).rank_pattern = ranks or None

    def save(self, model: Any, section: AdaLoraMethod, context: MethodContext, directory: Path) -> None:
        """Save the adapter, pruned to the ranks that are left."""
        ranks = _config(model).rank_pattern
        if ranks:  # what was pruned may have grown a little since, in a run that was ended early
            model.base_model.rankallocator.mask_using_rank_pattern(model.base_model.model, ranks)
        model.save_pretrained(directory)


def rank_schedule(section: AdaLoraMethod, steps: int) -> tuple[int, int]:
    """Optimizer steps before the first and after the last reallocation of ranks (peft's `tinit` and `tfinal`).

    Raises:
        ConfigError: they leave no step between them, or ranks would grow.
    """
    first = steps // 10 if section.warmup_steps is None else section.warmup_steps
    last = steps // 3 if section.final_steps is None else section.final_steps
    if first + last >= steps:
        raise ConfigError(
            f"method.warmup_steps={first} and method.final_steps={last} leave none of the {steps} steps to move ranks "
            "in. Leave them empty, or train for longer."
        )
    if section.target_r > section.initial_r:
        raise ConfigError(
            f"method.target_r={section.target_r} is above method.initial_r={section.initial_r}; ranks only shrink."
        )
    return first, last


def _config(model: Any) -> Any:
    return model.peft_config["default"]


def _is_adapter_matrix(name: str) -> bool:
    return "lora_A" in name or "lora_B" in name


ADALORA = AdaLora()
