"""Sharded parameters and optimizer state (FSDP2, ZeRO-3) → full tensors, and back.

Knows DTensors. Every function is called by all processes together, and leaves what is not sharded as it is.
"""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor


def is_sharded(model: Any) -> bool:
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def full_model(model: Any) -> Any:
    """An object with the `named_parameters` of `model` as full tensors. They are copies."""
    if not is_sharded(model):
        return model
    _reshard(model)
    named = [(name, _parameter(parameter)) for name, parameter in model.named_parameters()]
    return SimpleNamespace(named_parameters=lambda: iter(named))


def full_optimizer(optimizer: Any) -> Any:
    """An object with the `state_dict` of `optimizer` as full tensors."""
    saved = optimizer.state_dict()
    state = {
        key: {name: _full_tensor(value) for name, value in values.items()} for key, values in saved["state"].items()
    }
    return SimpleNamespace(state_dict=lambda: {**saved, "state": state})


def load_parameters(model: Any, whole: Any) -> None:
    """Load full parameters, from `full_model` and changed since, back into the shards."""
    if whole is model:
        return
    changed = dict(whole.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(_shard_like(changed[name].detach(), parameter))


def shard_optimizer(optimizer: Any) -> None:
    """Shard optimizer state that was loaded full as its parameters are sharded."""
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if torch.is_tensor(value) and value.shape == parameter.shape:
                values[name] = _shard_like(value, parameter)


def unshard(model: Any) -> None:
    """Turn a sharded model back into a plain one; it is not trained any more."""
    _gather_from_deepspeed(model)
    if not is_sharded(model):
        return
    _reshard(model)
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if isinstance(parameter, DTensor):
                module._parameters[name] = _parameter(parameter)
    for module in list(model.modules()):
        plain = _plain_class(type(module))
        if plain is not type(module):
            module.__class__ = plain
    if hasattr(model, "tie_weights"):
        model.tie_weights()


def _gather_from_deepspeed(model: Any) -> None:
    """ZeRO-3 leaves empty parameters behind; gathered once, they stay until the process ends."""
    sharded = [parameter for parameter in model.parameters() if hasattr(parameter, "ds_id")]
    if sharded:
        deepspeed = importlib.import_module("deepspeed")
        deepspeed.zero.GatheredParameters(sharded).__enter__()


def _plain_class(cls: type) -> type:
    """`fully_shard` makes a class of FSDPModule and the module's own."""
    from torch.distributed.fsdp import FSDPModule

    return next(base for base in cls.__bases__ if base is not FSDPModule) if FSDPModule in cls.__bases__ else cls


def _reshard(model: Any) -> None:
    """A forward pass may have left parameters gathered, out of the optimizer's sight."""
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def _full_tensor(value: Any) -> Any:
    return value.full_tensor() if isinstance(value, DTensor) else value


def _parameter(parameter: Any) -> nn.Parameter:
    return nn.Parameter(_full_tensor(parameter.detach()), requires_grad=parameter.requires_grad)


def _shard_like(value: torch.Tensor, parameter: Any) -> torch.Tensor:
    if not isinstance(parameter, DTensor):
        return value
    return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
