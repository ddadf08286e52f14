"""Where LoRA goes, and that nothing else is trained."""

from __future__ import annotations

import json

import pytest
from camelid_core.adapters import UNKNOWN, ModelAdapter
from camelid_core.errors import ModelError
from camelid_core.models import resolve_model
from camelid_core.plugins import load_host
from camelid_train.config import LoraMethod
from camelid_train.methods import lora
from transformers import AutoModelForCausalLM


@pytest.fixture
def model(base):
    return lambda family="llama": AutoModelForCausalLM.from_pretrained(base(family))


@pytest.mark.parametrize(
    ("family", "targets"),
    [
        ("llama", ["q_proj", "v_proj"]),
        ("bloom", ["query_key_value"]),
        ("gpt_neox", ["query_key_value"]),
        ("qwen2", ["q_proj", "v_proj"]),
    ],
)
def test_default_targets_are_the_familys_or_inferred(model, base, family, targets):
    adapter = resolve_model(str(base(family)), load_host()).adapter
    assert lora.targets(model(family), LoraMethod(), adapter) == targets


def test_the_recipes_targets_outrank_the_familys(model):
    adapter = ModelAdapter("x", "", ("llama",), lora_targets=("v_proj",))
    assert lora.targets(model(), LoraMethod(targets=["o_proj"]), adapter) == ["o_proj"]
    assert lora.targets(model(), LoraMethod(), adapter) == ["v_proj"]
    assert lora.targets(model(), LoraMethod(targets=["all-linear"]), adapter) == "all-linear"


def test_a_layer_that_is_not_there_is_named_with_those_that_are(model):
    with pytest.raises(
        ModelError, match=r"no linear layer 'query_key_value'; it has down_proj, gate_proj, .*all-linear"
    ):
        lora.targets(model(), LoraMethod(targets=["q_proj", "query_key_value"]), UNKNOWN)


def test_the_output_layer_is_no_target(model):
    names = lora.linear_names(model())
    assert not any("lm_head" in name for name in names)
    assert len(names) == 2 * 7


def test_only_the_adapters_are_trained_and_they_know_their_base(model, base, tmp_path):
    method = LoraMethod(r=3, alpha=6, dropout=0.5)
    prepared = lora.prepare(model(), method, UNKNOWN, str(base()))
    trained = [name for name, parameter in prepared.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    prepared.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (3, 6, 0.5)
    assert (config["base_model_name_or_path"], config["task_type"]) == (str(base()), "CAUSAL_LM")
