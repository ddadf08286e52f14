"""What is decided for speed changes no result: number formats, activations, compiled layers, rows end to end."""

from __future__ import annotations

import json

import pytest
import torch
from camelid_core.errors import ConfigError
from camelid_core.tasks import Interrupted
from camelid_train.loop import acceleration
from camelid_train.run import train
from peft import PeftModel, PrefixTuningConfig, get_peft_model
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
    (optimizer,) = plain.directory.glob("checkpoints/step-*/optimizer.json")
    assert json.loads(optimizer.read_text())["param_groups"][0]["fused"], "AdamW is one kernel for all parameters"
    saved = load_file(half.output / "model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.bfloat16}


OF_INDUCTOR = pytest.mark.filterwarnings(
    "ignore:.torch.jit.script_method. is deprecated:DeprecationWarning",
    "ignore:.class 'torch.autograd.function.Function'. should not be instantiated:DeprecationWarning",
    "ignore:The .grad attribute of a Tensor that is not a leaf Tensor is being accessed:UserWarning",
)
"""torch's compiler uses what torch itself warns of."""


@pytest.mark.slow
@OF_INDUCTOR
def test_compiled_layers_learn_what_plain_ones_learn_also_in_a_run_that_goes_on(run, attempt, recipe, base):
    plain = run("train.max_steps=4")
    config = recipe(*ONLY, "train.max_steps=4", "train.compile=true")
    first, last = attempt(1, job=50), attempt(2, job=50)
    first.stop_at = (2, "save")
    with pytest.raises(Interrupted):
        train(config, first)
    train(config, last)
    assert first.losses + last.losses == pytest.approx(plain.losses, abs=1e-5)
    adapters = [load_file(each.output / "adapter_model.safetensors") for each in (plain, last)]
    assert adapters[0].keys() == adapters[1].keys()
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base()), last.output).eval()
    assert loaded(torch.tensor([[5, 6, 7]])).logits.isfinite().all()


@OF_INDUCTOR
def test_a_machine_that_cannot_compile_is_told_what_to_install(monkeypatch):
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    with pytest.raises(
        ConfigError, match=r"torch cannot compile here \(.*no-such-compiler.*or set train\.compile=false"
    ):
        acceleration.check_compiler(torch.device("cpu"))


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
    chosen = acceleration.arguments(computed, weights, device)
    assert (chosen["bf16"], chosen["fp16"]) == (bf16, fp16)


def test_liger_patches_classes_only_where_nothing_is_loaded_after_it(monkeypatch):
    monkeypatch.setattr(acceleration, "find_spec", lambda name: name)
    half = (torch.bfloat16, torch.bfloat16)
    assert acceleration.arguments(*half, "cuda")["use_liger_kernel"]
    assert "use_liger_kernel" not in acceleration.arguments(*half, "cpu")
    with acceleration.without_liger():
        assert "use_liger_kernel" not in acceleration.arguments(*half, "cuda")
    assert acceleration.arguments(*half, "cuda")["use_liger_kernel"]


def test_what_a_model_cannot_do_is_said(base):
    model = AutoModelForCausalLM.from_pretrained(base())
    virtual = get_peft_model(model, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    with pytest.raises(ConfigError, match=r"train\.gradient_checkpointing='on'"):
        acceleration.enable_gradient_checkpointing(virtual)
