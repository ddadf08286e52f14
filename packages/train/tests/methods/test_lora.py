"""Where LoRA goes, how it starts, and that nothing else is trained."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from camelid_core.errors import ConfigError, ModelError
from camelid_core.models.adapters import UNKNOWN, ModelAdapter
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_train.methods import MethodContext
from camelid_train.methods.lora import LORA, LoraMethod
from camelid_train.methods.targets import choose_targets, linear_names
from transformers import AutoModelForCausalLM

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture
def model(base):
    return lambda family="llama": AutoModelForCausalLM.from_pretrained(base(family), dtype=torch.float32)


@pytest.fixture
def method_context(base):
    def make(adapter=None, family="llama"):
        resolved = resolve_model(str(base(family)), load_host())
        rows = [{"input_ids": torch.arange(n, n + 16).reshape(2, 8), "labels": torch.ones(2, 8).long()} for n in (3, 9)]
        return MethodContext(replace(resolved, adapter=adapter or resolved.adapter), batches=lambda: iter(rows))

    return make


@pytest.mark.parametrize(
    ("family", "targets"),
    [
        ("llama", ["q_proj", "v_proj"]),
        ("bloom", ["query_key_value"]),
        ("gpt_neox", ["query_key_value"]),
        ("qwen2", ["q_proj", "v_proj"]),
        ("gemma", ["q_proj", "v_proj"]),
    ],
)
def test_default_targets_are_the_familys_or_inferred(model, method_context, family, targets):
    assert choose_targets(model(family), [], method_context(family=family).adapter) == targets


def test_the_recipes_targets_outrank_the_familys(model):
    adapter = ModelAdapter("x", "", ("llama",), lora_targets=("v_proj",))
    assert choose_targets(model(), ["o_proj"], adapter) == ["o_proj"]
    assert choose_targets(model(), [], adapter) == ["v_proj"]
    assert choose_targets(model(), ["all-linear"], adapter) == "all-linear"


def test_a_layer_that_is_not_there_is_named_with_those_that_are(model):
    with pytest.raises(
        ModelError, match=r"no linear layer 'query_key_value'; it has down_proj, gate_proj, .*all-linear"
    ):
        choose_targets(model(), ["q_proj", "query_key_value"], UNKNOWN)


def test_the_output_layer_is_no_target(model):
    names = linear_names(model())
    assert not any("lm_head" in name for name in names)
    assert len(names) == 2 * 7


def test_only_the_adapters_are_trained_and_they_know_their_base(model, base, method_context, tmp_path):
    method = LoraMethod(r=3, alpha=6, dropout=0.5)
    prepared = LORA.prepare(model(), method, method_context(UNKNOWN))
    trained = [name for name, parameter in prepared.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    LORA.save(prepared, method, method_context(), tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (3, 6, 0.5)
    assert (config["base_model_name_or_path"], config["task_type"]) == (str(base()), "CAUSAL_LM")


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("initial", ["pissa", "olora", "eva", "gaussian", "orthogonal"])
def test_any_start_is_saved_as_plain_lora_for_the_unchanged_base(model, method_context, tmp_path, initial, rslora):
    """At first nothing has changed, and after a change base + saved adapter say what the trained model says."""
    from peft import PeftModel

    method = LoraMethod(r=4, initial=initial, rslora=rslora, targets=["q_proj", "down_proj"])
    prepared = LORA.prepare(model(), method, method_context())
    assert torch.allclose(logits(prepared), logits(model()), atol=1e-4)
    with torch.no_grad():
        for name, parameter in prepared.named_parameters():
            if "lora_" in name:
                parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))
    wanted = logits(prepared)
    LORA.save(prepared, method, method_context(), tmp_path)
    loaded = PeftModel.from_pretrained(model(), tmp_path)
    assert torch.allclose(logits(loaded), wanted, atol=1e-4)
    assert not torch.allclose(wanted, logits(model()), atol=1e-3)
    with loaded.disable_adapter():
        assert torch.equal(logits(loaded), logits(model()))


@pytest.mark.parametrize(("rslora", "scales"), [(False, [2, 2, 2]), (True, [4 / 6**0.5, 4 / 3**0.5, 4 / 2**0.5])])
def test_single_layers_can_have_a_rank_of_their_own(model, method_context, rslora, scales):
    """The scale is the same for all; that of rsLoRA is alpha / √rank of each."""
    fields = {"targets": ["q_proj", "down_proj"], "ranks": ["down_proj=6", "layers.0.self_attn.q_proj=3"]}
    prepared = LORA.prepare(model(), LoraMethod(r=2, alpha=4, rslora=rslora, **fields), method_context())
    layers = prepared.base_model.model.model.layers
    assert layers[0].mlp.down_proj.r["default"] == 6
    assert (layers[0].self_attn.q_proj.r["default"], layers[1].self_attn.q_proj.r["default"]) == (3, 2)
    adapted = (layers[0].mlp.down_proj, layers[0].self_attn.q_proj, layers[1].self_attn.q_proj)
    assert [layer.scaling["default"] for layer in adapted] == pytest.approx(scales)


@pytest.mark.parametrize("text", ["down_proj", "down_proj=", "=4", "down_proj=0", "down_proj=9999", "down_proj=x"])
def test_a_rank_that_is_none_is_refused(model, method_context, text):
    with pytest.raises(ConfigError, match=r"method\.ranks: .* is not layer=rank with a rank of 1 to 1024"):
        LORA.prepare(model(), LoraMethod(ranks=[text]), method_context())


def test_a_rank_for_a_layer_that_is_not_there_is_refused(model, method_context):
    with pytest.raises(ModelError, match="no linear layer 'downproj'"):
        LORA.prepare(model(), LoraMethod(ranks=["downproj=4"]), method_context())


def test_a_rank_for_a_layer_that_is_no_target_is_refused(model, method_context):
    ranks = ["layers.1.mlp.down_proj=4", "q_proj=4"]
    with pytest.raises(ConfigError, match=r"down_proj would not be adapted; the targets are q_proj, v_proj\."):
        LORA.prepare(model(), LoraMethod(ranks=ranks), method_context())
    LORA.prepare(model(), LoraMethod(ranks=ranks, targets=["all-linear"]), method_context())


@pytest.mark.parametrize("fields", [{"ranks": ["q_proj=4"]}, {"dora": True}])
def test_what_does_not_go_together_is_said(model, method_context, fields):
    with pytest.raises(ConfigError, match=r"does not go with method\.initial='pissa'"):
        LORA.prepare(model(), LoraMethod(initial="pissa", **fields), method_context())


def test_eva_without_data_is_a_sentence(model, method_context):
    with pytest.raises(ModelError, match="needs training rows to look at"):
        LORA.prepare(model(), LoraMethod(initial="eva"), replace(method_context(), batches=lambda: iter(())))


def test_a_quantised_base_is_refused_with_what_to_do(method_context):
    resolved = method_context().resolved
    quantised = replace(resolved, config={**resolved.config, "quantization_config": {"quant_method": "gptq"}})
    with pytest.raises(ModelError, match=r"is stored quantised \(gptq\).*lora-gptq"):
        LORA.load(quantised, "float32", LoraMethod())
