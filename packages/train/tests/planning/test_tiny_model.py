"""A tiny model like a given one: the same classes and layers, whatever sizes are called, from a configuration alone."""

from __future__ import annotations

import json

import pytest
import torch
from camelid_core.errors import ModelError
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_core.testing import tiny_tokenizer
from camelid_train.planning.tiny_model import make_tiny_model, tiny_config
from transformers import AutoConfig, AutoModelForCausalLM

FAMILIES = ("llama", "bloom", "gpt_neox", "qwen2", "gemma", "mixtral", "qwen3_moe")
MORE = ("gemma2", "gemma3_text", "mistral", "qwen3", "phi3", "glm4", "gpt2", "falcon", "deepseek_v3", "gpt_oss", "gptj")


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture
def bare(tmp_path, tokenizer):
    """A full-sized configuration with a tokenizer and no weights."""

    def make(family: str, **values):
        config = AutoConfig.for_model(family, vocab_size=len(tokenizer), pad_token_id=0, bos_token_id=0, eos_token_id=1)
        config.save_pretrained(tmp_path / family)
        tokenizer.save_pretrained(tmp_path / family)
        path = tmp_path / family / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))
        return resolve_model(str(tmp_path / family), load_host())

    return make


@pytest.mark.parametrize("family", [*FAMILIES, *(pytest.param(each, marks=pytest.mark.slow) for each in MORE)])
def test_it_is_small_and_of_the_same_classes(bare, tmp_path, family):
    resolved = bare(family)
    model = make_tiny_model(resolved, tmp_path / "tiny")
    with torch.device("meta"):
        whole = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(resolved.base))
    assert type(model) is type(whole)
    assert classes(model) == classes(whole)
    assert last_parts(model) == last_parts(whole)
    assert model.num_parameters() < 1_000_000
    assert model.num_parameters() <= whole.num_parameters()
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits
        assert logits.isfinite().all()
        again = AutoModelForCausalLM.from_pretrained(tmp_path / "tiny").eval()
        assert torch.allclose(again(input_ids=ids).logits, model.eval()(input_ids=ids).logits, atol=1e-5)


def classes(model) -> set[str]:
    return {type(module).__name__ for module in model.modules()}


def last_parts(model) -> set[str]:
    """What the layers are called: the names that methods aim at."""
    return {name.rpartition(".")[2] for name, _ in model.named_modules() if not name.rpartition(".")[2].isdecimal()}


def test_how_heads_share_keys_stays():
    def groups(heads: int, kv: int) -> tuple[int, int]:
        small = tiny_config({"num_attention_heads": heads, "num_key_value_heads": kv, "num_hidden_layers": 30})
        return small["num_attention_heads"], small["num_key_value_heads"]

    assert (groups(32, 32), groups(32, 8), groups(9, 3), groups(8, 1)) == ((4, 4), (4, 2), (4, 2), (4, 1))


def test_two_kinds_of_layers_both_stay_and_what_is_no_size_is_untouched():
    kinds = ["sliding_attention"] * 5 + ["full_attention"]
    config = {"num_hidden_layers": 6, "layer_types": kinds, "rope_parameters": {"long_factor": [1.0] * 48, "x": 1}}
    small = tiny_config(config | {"vocab_size": 49152, "eos_token_id": [1, 2], "quantization_config": {"bits": 4}})
    assert small["layer_types"] == ["sliding_attention", "full_attention"]
    assert small["rope_parameters"] == {"long_factor": [1.0] * 8, "x": 1}
    assert (small["vocab_size"], small["eos_token_id"]) == (49152, [1, 2])
    assert "quantization_config" not in small


def test_an_architecture_nobody_knows_is_a_sentence(bare, tmp_path):
    with pytest.raises(ModelError, match=r"llama' cannot be made small: .*nothing-yet"):
        make_tiny_model(bare("llama", model_type="nothing-yet"), tmp_path / "tiny")
