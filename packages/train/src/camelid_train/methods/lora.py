"""LoRA: low-rank adapters beside frozen weights, through peft.

Knows ranks, scales and initialisations. Knows nothing of data or of the loop.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from camelid_core.errors import ConfigError, ModelError
from pydantic import Field

from camelid_train.sections import Method

from . import citations
from .targets import check_targets, choose_targets, left_out, linear_names, stores_inputs_first
from .tuning_method import MethodContext, TuningMethod

Initial = Literal["default", "gaussian", "orthogonal", "pissa", "olora", "eva"]
_CHANGES_BASE = ("pissa", "olora")
"""Initialisations that subtract from the base's weights; the saved adapter is converted to fit the unchanged base."""


class BaseLoraMethod(Method):
    """Hyperparameters of LoRA that do not depend on how the base is stored."""

    r: int = Field(8, ge=1, le=1024)
    """LoRA rank: inner size r of the two adapter matrices; a higher rank learns more, and takes more memory and disk.
    Also: `lora_r`, `lora_rank`."""
    alpha: float = Field(16, gt=0)
    """LoRA alpha: the update is multiplied by alpha / r; the default is twice the default rank. Also: `lora_alpha`."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """LoRA dropout: probability with which an input of the adapter is zeroed while training; 0 turns it off.
    Also: `lora_dropout`."""
    targets: list[str] = []
    """Target modules: the linear layers that get an adapter; empty takes the model family's own, ["all-linear"] takes
    every linear layer but the output layer. Also: `target_modules`, `lora_target_modules`, `lora_target`."""
    rslora: bool = False
    """Rank-stabilised LoRA (rsLoRA): scale by alpha / √r instead of alpha / r, so that high ranks learn as fast as low
    ones. Also: `use_rslora`, `peft_use_rslora`."""
    dora: bool = False
    """Weight-decomposed LoRA (DoRA): magnitude and direction of the weights learn apart; slower, often better at low
    rank. Also: `use_dora`, `peft_use_dora`."""
    ranks: list[str] = []
    """Rank pattern: another rank for some of the target modules, as layer=rank, for example q_proj=16; alpha follows,
    so that the scale stays the same. Also: `rank_pattern`."""


class LoraMethod(BaseLoraMethod):
    """LoRA: low-rank adapters beside the frozen weights of the base."""

    type: Literal["lora"] = "lora"
    initial: Initial = "default"
    """Initialisation of the adapter matrices: default, gaussian and orthogonal are random, eva takes the principal
    directions of the layers' inputs on the training data, pissa and olora a decomposition of the base's weights.
    Also: `init_lora_weights`, `peft_init_lora_weights`, `pissa_init`."""


LoraT = TypeVar("LoraT", bound=BaseLoraMethod)


class BaseLora(TuningMethod[LoraT]):
    """LoRA on a base model that a subclass loads."""

    citations: Sequence[str] = (citations.LORA,)

    def initial(self, section: LoraT) -> Initial:
        return "default"

    def prepare(self, model: Any, section: LoraT, context: MethodContext) -> Any:
        from peft import EvaConfig, LoraConfig, get_peft_model

        from .lora_layers import compute_in_base_dtype

        initial = self.initial(section)
        targets = choose_targets(model, section.targets, context.adapter)
        ranks = rank_pattern(model, section, targets)
        if ranks and initial != "default":
            raise ConfigError(f"method.ranks does not go with method.initial={initial!r}; leave one of them out.")
        if section.dora and initial in _CHANGES_BASE:
            raise ConfigError(f"method.dora does not go with method.initial={initial!r}; leave one of them out.")
        scale = section.alpha / section.r  # the same in every layer; that of rsLoRA depends on the layer's rank
        config = LoraConfig(
            r=section.r,
            lora_alpha=section.alpha,
            lora_dropout=section.dropout,
            target_modules=targets,
            exclude_modules=left_out(model, context.adapter),
            fan_in_fan_out=stores_inputs_first(model),
            use_rslora=section.rslora,
            use_dora=section.dora,
            rank_pattern=ranks,
            alpha_pattern={} if section.rslora else {name: scale * rank for name, rank in ranks.items()},
            init_lora_weights=True if initial == "default" else initial,
            eva_config=EvaConfig(rho=1.0, adjust_scaling_factors=False) if initial == "eva" else None,
            task_type="CAUSAL_LM",
        )
        if initial == "eva":
            return set_base_path(compute_in_base_dtype(_eva_initialised(model, config, context)), context)
        return set_base_path(compute_in_base_dtype(get_peft_model(model, config)), context)


class Lora(BaseLora[LoraMethod]):
    name = "lora"
    help = "LoRA: low-rank adapters beside frozen weights; little memory, a small file, close to the quality of full."
    config = LoraMethod

    def initial(self, section: LoraMethod) -> Initial:
        return section.initial

    def keeps_base(self, section: LoraMethod) -> bool:
        return section.initial not in _CHANGES_BASE

    def prepare(self, model: Any, section: LoraMethod, context: MethodContext) -> Any:
        prepared = super().prepare(model, section, context)
        if section.initial in _CHANGES_BASE:
            prepared.camelid_initial = {name: tensor.detach().clone() for name, tensor in _adapter_tensors(prepared)}
        return prepared

    def save(self, model: Any, section: LoraMethod, context: MethodContext, directory: Path) -> None:
        model.save_pretrained(directory)
        if hasattr(model, "camelid_initial"):
            _relative_to_base(directory, model.camelid_initial)


def set_base_path(model: Any, context: MethodContext) -> Any:
    """`model` with the path of its base in its peft configuration."""
    model.peft_config["default"].base_model_name_or_path = str(context.resolved.base)
    return model


def rank_pattern(model: Any, section: BaseLoraMethod, targets: str | list[str]) -> dict[str, int]:
    """`["q_proj=16"]` → `{"q_proj": 16}`.

    Raises:
        ConfigError: not a layer and a rank, or a layer that is none of the `targets`.
        ModelError: a layer that the model does not have.
    """
    pattern = {}
    for text in section.ranks:
        name, _, rank = text.rpartition("=")
        if not name or not rank.isdecimal() or not 1 <= int(rank) <= 1024:
            raise ConfigError(f"method.ranks: {text!r} is not layer=rank with a rank of 1 to 1024; write q_proj=16.")
        pattern[name] = int(rank)
    if pattern:
        named = list(dict.fromkeys(name.rpartition(".")[2] for name in pattern))
        check_targets(linear_names(model), named)
        others = [] if isinstance(targets, str) else [name for name in named if name not in targets]
        if others:
            raise ConfigError(
                f"method.ranks: {', '.join(others)} would not be adapted; the targets are {', '.join(targets)}. "
                f"Leave it out, or set method.targets={json.dumps([*targets, *others])}."
            )
    return pattern


def _eva_initialised(model: Any, config: Any, context: MethodContext) -> Any:
    """EVA: LoRA initialised with the principal directions of the layers' inputs on the training data."""
    from peft import get_peft_model, initialize_lora_eva_weights

    batches = list(_first_batches(context.batches()))
    if not batches:
        raise ModelError("method.initial='eva' needs training rows to look at, and there are none.")
    device = next(model.parameters()).device
    batches = [{name: tensor.to(device) for name, tensor in batch.items()} for batch in batches]
    prepared = get_peft_model(model, config, low_cpu_mem_usage=True)
    initialize_lora_eva_weights(prepared, batches, show_progress_bar=False)
    prepared.peft_config["default"].init_lora_weights = True  # loading the saved adapter needs no data
    prepared.peft_config["default"].eva_config = None
    return prepared


def _first_batches(batches: Iterable[Mapping[str, Any]], most: int = 64) -> Iterator[dict[str, Any]]:
    for count, batch in enumerate(batches):
        if count == most:
            return
        yield {"input_ids": batch["input_ids"], "labels": batch["labels"]}


def _adapter_tensors(model: Any) -> Iterator[tuple[str, Any]]:
    """The adapter's tensors, by the names they are saved under."""
    from peft import get_peft_model_state_dict

    yield from get_peft_model_state_dict(model).items()


def _relative_to_base(directory: Path, initial: Mapping[str, Any]) -> None:
    """W_rest + B·A = W + (B·A - B₀·A₀): at twice the rank, the saved adapter fits the unchanged base."""
    import torch
    from safetensors.torch import load_file, save_file

    path, merged = directory / "adapter_model.safetensors", {}
    for name, tensor in load_file(path).items():
        first = initial[name].to("cpu", tensor.dtype)
        if "lora_A" in name:
            merged[name] = torch.cat([tensor, first], dim=0).contiguous()
        else:
            merged[name] = torch.cat([tensor, -first], dim=1).contiguous()
    save_file(merged, path, {"format": "pt"})
    file = directory / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    root = config["use_rslora"]  # alpha / √(2r) where it was alpha / √r
    config |= {"r": 2 * config["r"], "lora_alpha": config["lora_alpha"] * (2**0.5 if root else 2)}
    file.write_text(json.dumps(config | {"init_lora_weights": True}, indent=2), encoding="utf-8")


LORA = Lora()
