"""What is decided for speed changes no result: number formats, activations, compiled layers, rows end to end."""

from __future__ import annotations

import pytest
import torch
from camelid_core.errors import ConfigError
from camelid_train.loop import speed
from camelid_train.sft import train
from peft import PrefixTuningConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

ONLY = ("train.preflight=false", "data.eval_rows=0")


@pytest.fixture
def run(attempt, recipe):
    """A finished attempt at the small recipe, with overrides."""
    numbers = iter(range(1, 100))

    def make(*overrides: str):
        made = attempt(job=next(numbers))
        train(recipe(*ONLY, *overrides), made)
        return made

    return make


def test_lora_on_a_bfloat16_base_learns_like_on_a_float32_one(run):
    plain, half = run(), run("model.dtype=bfloat16")
    assert half.losses[-1] < half.losses[0]
    assert half.losses == pytest.approx(plain.losses, rel=0.03)
    saved = load_file(half.output / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}


def test_packed_rows_teach_what_padded_rows_teach(run):
    padded, packed = run("train.packing=off"), run("train.packing=on")
    assert packed.losses == pytest.approx(padded.losses, rel=1e-4)
    names = ("total_tokens", "trained_tokens")
    counts = [[each.manifest["metrics"][name] for name in names] for each in (padded, packed)]
    assert counts[0] == counts[1]


def test_activations_made_again_change_nothing(run):
    kept, again = run("train.gradient_checkpointing=off"), run("train.gradient_checkpointing=on")
    assert again.losses == pytest.approx(kept.losses, rel=1e-5)


def test_full_fine_tuning_in_bfloat16_keeps_float32_weights(run):
    options = ("method.type=full", "train.learning_rate=1e-3")
    plain, half = run(*options), run(*options, "model.dtype=bfloat16")
    assert half.losses == pytest.approx(plain.losses, rel=0.03)
    assert half.losses != plain.losses
    steps = [load_file(next(each.directory.glob("checkpoints/step-*/weights*.safetensors"))) for each in (plain, half)]
    assert all({tensor.dtype for tensor in step.values()} == {torch.float32} for step in steps)
    saved = load_file(half.output / "model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("computed", "weights", "device", "bf16", "fp16"),
    [
        (torch.float32, torch.float32, "cpu", False, False),
        (torch.bfloat16, torch.bfloat16, "cuda", False, False),
        (torch.bfloat16, torch.float32, "cuda", True, False),
        (torch.float16, torch.float16, "cuda", False, True),
        (torch.float16, torch.float32, "cuda", False, True),
        (torch.float16, torch.float32, "cpu", False, False),
    ],
)
def test_number_formats(computed, weights, device, bf16, fp16):
    chosen = speed.arguments(computed, weights, device)
    assert (chosen["bf16"], chosen["fp16"]) == (bf16, fp16)


def test_what_a_model_cannot_do_is_said(base):
    model = AutoModelForCausalLM.from_pretrained(base())
    virtual = get_peft_model(model, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    with pytest.raises(ConfigError, match=r"train\.gradient_checkpointing='on'"):
        speed.save_activations(virtual)
