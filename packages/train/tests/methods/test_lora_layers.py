"""The adapter's own forward: what peft's gives, with float32 parameters under any dtype of the base."""

from __future__ import annotations

import copy

import pytest
import torch
from camelid_train.methods.lora_layers import compute_in_base_dtype
from peft import LoraConfig, get_peft_model
from torch import nn

KINDS = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "dropout": {"lora_dropout": 0.5},
    "bias": {"lora_bias": True},
}


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(24, 40)
        self.two = nn.Linear(40, 8)

    def forward(self, x):
        return self.two(torch.tanh(self.one(x)))


def pair(kind: str, dtype: torch.dtype):
    """The same random model twice: with peft's forward and with the fused one."""
    config = LoraConfig(r=4, target_modules=["one", "two"], init_lora_weights=False, **KINDS[kind])
    plain = get_peft_model(Two().to(dtype), config)
    return plain, compute_in_base_dtype(copy.deepcopy(plain))


def run(model, inputs):
    torch.manual_seed(1)
    inputs = inputs.clone().requires_grad_()
    output = model(inputs)
    (output.float() ** 2).sum().backward()
    learning = {name: each.grad for name, each in model.named_parameters() if each.requires_grad}
    return output, inputs.grad, learning


@pytest.mark.parametrize("kind", KINDS)
def test_in_float32_it_is_pefts(kind):
    plain, fused = pair(kind, torch.float32)
    inputs = torch.randn(3, 5, 24)
    torch.testing.assert_close(run(fused, inputs), run(plain, inputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_under_bfloat16_the_adapter_learns_in_float32_and_computes_in_bfloat16(kind):
    plain, fused = pair(kind, torch.bfloat16)
    inputs = torch.randn(3, 5, 24).bfloat16()
    output, grad_inputs, learning = run(fused, inputs)
    wanted = run(plain, inputs)
    assert output.dtype == torch.bfloat16
    assert {each.dtype for each in learning.values()} == {torch.float32}
    torch.testing.assert_close((output, grad_inputs), wanted[:2], rtol=0.05, atol=0.3)
    for name, gradient in learning.items():
        distance = (gradient - wanted[2][name]).norm() / wanted[2][name].norm()
        assert distance < 0.05, name


def test_no_product_of_an_adapter_is_in_float32_under_bfloat16():
    """peft would make the layer's input float32; that is where its time goes."""
    _, fused = pair("lora", torch.bfloat16)
    from torch.utils._python_dispatch import TorchDispatchMode

    seen = set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.addmm_):
                seen.update(each.dtype for each in args if isinstance(each, torch.Tensor))
            return func(*args, **(kwargs or {}))

    with Watch():
        run(fused, torch.randn(3, 5, 24).bfloat16())
    assert seen == {torch.bfloat16}


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_switched_off_and_merged_it_is_the_base_and_the_merged_model(kind):
    plain, fused = pair(kind, torch.float32)
    inputs = torch.randn(2, 24)
    with fused.disable_adapter(), plain.disable_adapter():
        torch.testing.assert_close(fused(inputs), plain(inputs))
    before = fused(inputs)
    torch.testing.assert_close(fused.merge_and_unload()(inputs), before, rtol=1e-4, atol=1e-4)


def test_a_second_adapter_is_left_to_peft():
    plain, _ = pair("lora", torch.float32)
    plain.add_adapter("other", LoraConfig(r=2, target_modules=["one"], init_lora_weights=False))
    fused = compute_in_base_dtype(copy.deepcopy(plain))
    inputs = torch.randn(2, 24)
    for names in (["default"], ["other"], ["default", "other"]):
        for model in (plain, fused):
            model.base_model.set_adapter(names)
        torch.testing.assert_close(fused(inputs), plain(inputs))


def test_autocast_is_followed():
    """Under autocast both kinds of layer give what a float32 model gives to that precision."""
    plain, fused = pair("lora", torch.float32)
    inputs = torch.randn(3, 5, 24)
    with torch.autocast("cpu", torch.bfloat16):
        output = fused(inputs)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), plain(inputs), rtol=0.05, atol=0.3)
