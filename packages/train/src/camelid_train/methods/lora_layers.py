"""A fused LoRA forward that computes in the dtype of the base layer, in fewer passes over memory than peft's.

Knows peft's LoRA layers. The adapter's parameters stay float32, so that small updates are not rounded away; their
values are cast to the dtype of the layer's input for each product, and the gradients back. peft casts the
input to float32 instead, which under a bfloat16 base costs more than the adapter's arithmetic itself.

Layers that are more than a plain sum of two products (DoRA, several adapters at once, a bias of the adapter's own)
stay with peft's forward, as do merged and disabled ones.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.nn import functional


def compute_in_base_dtype(model: Any) -> Any:
    """Replace the forward of every LoRA layer of `model`; returns `model`."""
    from peft.tuners.lora.layer import LoraLayer

    for module in model.modules():
        if isinstance(module, LoraLayer) and any(isinstance(down, nn.Linear) for down in module.lora_A.values()):
            module.forward = MethodType(_forward, module)
    return model


def _forward(layer: Any, inputs: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
    if args or options or not _is_plain(layer) or not inputs.is_floating_point():
        return type(layer).forward(layer, inputs, *args, **options)
    (name,) = layer.active_adapters
    down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
    drop, scale, base = layer.lora_dropout[name], layer.scaling[name], layer.base_layer
    dropping = layer.training and isinstance(drop, nn.Dropout)
    if _is_frozen(base) and not dropping and not torch.is_autocast_enabled(inputs.device.type):
        return _FusedLoraLinear.apply(inputs, base.weight, base.bias, down, up, scale)
    result = base(inputs)
    low = functional.linear(drop(inputs), down.to(inputs.dtype)).to(result.dtype)
    return torch.addmm(result.flatten(0, -2), low.flatten(0, -2), up.T.to(result.dtype), alpha=scale).view_as(result)


def _is_plain(layer: Any) -> bool:
    names = layer.active_adapters
    if layer.disable_adapters or layer.merged or len(names) != 1 or names[0] not in layer.lora_A:
        return False
    down, up = layer.lora_A[names[0]], layer.lora_B[names[0]]
    return names[0] not in layer.lora_variant and up.bias is None and not down._forward_pre_hooks


def _is_frozen(base: Any) -> bool:
    """A frozen linear layer without hooks before its forward: such hooks may load the weight only then."""
    return type(base) is nn.Linear and not base.weight.requires_grad and not base._forward_pre_hooks


class _FusedLoraLinear(torch.autograd.Function):
    """x @ W.T + bias + scale · (x @ A.T) @ B.T. What the adapter adds goes straight into the base's result, forward
    and backward, so that no pass over memory is spent on scaling and adding."""

    @staticmethod
    def forward(ctx: Any, inputs: Any, weight: Any, bias: Any, down: Any, up: Any, scale: float) -> Any:
        inputs = inputs.contiguous()  # so is the result, into which is added below
        rows, ctx.adapter_dtype = inputs.view(-1, inputs.shape[-1]), down.dtype
        down, up = down.to(rows.dtype), up.to(rows.dtype)
        low = rows @ down.T
        result = functional.linear(inputs, weight, bias)
        result.view(-1, result.shape[-1]).addmm_(low, up.T, alpha=scale)
        ctx.save_for_backward(rows, weight, down, up, low)
        ctx.scale, ctx.shape = scale, inputs.shape
        return result  # itself and no view of it: some models add to it in place

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        rows, weight, down, up, low = ctx.saved_tensors
        gradient = gradient.reshape(-1, gradient.shape[-1])
        grad_low = (gradient @ up).mul_(ctx.scale)
        grad_up = (gradient.T @ low).to(ctx.adapter_dtype).mul_(ctx.scale)
        grad_down = (grad_low.T @ rows).to(ctx.adapter_dtype)
        grad_inputs = None
        if ctx.needs_input_grad[0]:
            grad_inputs = (gradient @ weight).addmm_(grad_low, down).view(ctx.shape)
        return grad_inputs, None, None, grad_down, grad_up, None
