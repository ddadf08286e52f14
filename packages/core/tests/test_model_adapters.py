"""Which family a model is of, and where LoRA goes in a model nobody described."""

from __future__ import annotations

import pytest
from camelid_core.compat.families import DEFAULT_WEIGHTS, weights_of
from camelid_core.errors import ModelError
from camelid_core.models.adapters import UNKNOWN, ModelAdapter, PullableModel, adapter_for, infer_lora_targets
from camelid_core.models.resolved_model import pullable_models, resolve_model
from camelid_core.plugins import Host, load_host
from camelid_core.testing import assert_adapter_contract

_FUSED = ("attn.query_key_value", "attn.dense")
LINEAR = {
    "falcon": _FUSED,
    "gpt-neox": _FUSED,
    "gpt-2": ("attn.c_attn", "attn.c_proj"),
    "gpt-bigcode": ("attn.c_attn", "attn.c_proj"),
    "mpt": ("attn.Wqkv", "attn.out_proj"),
    "codegen": ("attn.qkv_proj", "attn.out_proj"),
    "deepseek": ("self_attn.q_a_proj", "self_attn.q_b_proj", "self_attn.kv_b_proj"),
    "llama": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj"),
    "bloom": ("self_attention.query_key_value", "self_attention.dense", "mlp.dense_h_to_4h"),
    "phi-3": ("self_attn.qkv_proj", "self_attn.o_proj"),
    "chatglm": ("attention.query_key_value", "attention.dense"),
    "moss": ("attn.qkv_proj", "attn.out_proj"),
}


def blocks(*names: str, count: int = 2) -> list[str]:
    return [f"layers.{index}.{name}" for index in range(count) for name in names]


@pytest.mark.parametrize(
    ("names", "targets"),
    [
        (blocks(*LINEAR["llama"]), ("q_proj", "v_proj")),
        (blocks(*LINEAR["bloom"]), ("query_key_value",)),
        (blocks("attn.c_attn", "attn.c_proj", "mlp.c_fc"), ("c_attn",)),
        (blocks("mixer.in_proj", "mixer.out_proj"), ("in_proj", "out_proj")),
        ([*blocks("mixer.in_proj"), "head"], ("in_proj",)),
    ],
)
def test_attention_projections_come_first_then_whatever_repeats(names, targets):
    assert infer_lora_targets(names) == targets


@pytest.mark.parametrize("names", [[], ["head"], ["a.first", "b.second"]])
def test_a_model_where_nothing_repeats_asks_for_targets(names):
    with pytest.raises(ModelError, match=r"name its linear layers in method\.targets"):
        infer_lora_targets(names)


def test_the_family_that_claims_a_model_type_is_found_and_others_are_unknown():
    one, two = ModelAdapter("one", "", ("a", "b")), ModelAdapter("two", "", ("c",))
    assert adapter_for("b", [one, two]) is one
    assert adapter_for("c", [one, two]) is two
    assert adapter_for("d", [one, two]) is UNKNOWN


def test_two_families_with_one_model_type_are_both_named():
    with pytest.raises(ModelError, match="claimed by the adapters 'one', 'two'; remove one of their plugins"):
        adapter_for("a", [ModelAdapter("one", "", ("a",)), ModelAdapter("two", "", ("a",))])


@pytest.mark.parametrize("adapter", load_host().adapters, ids=lambda adapter: adapter.name)
def test_every_registered_adapter_keeps_the_contract(adapter):
    assert_adapter_contract(adapter, load_host().templates.names(), blocks(*LINEAR.get(adapter.name, LINEAR["llama"])))


@pytest.mark.parametrize(
    ("kind", "targets", "pad_token"),
    [("llama", ("q_proj", "v_proj"), "<unk>"), ("bloom", ("query_key_value",), "")],
)
def test_types_of_alpaca_cot_have_its_targets_and_padding_token(kind, targets, pad_token):
    adapter = adapter_for(kind, load_host().adapters)
    assert (adapter.lora_targets, adapter.pad_token) == (targets, pad_token)


@pytest.mark.parametrize(
    ("name", "hub_id"),
    [
        ("llama_7b", "decapoda-research/llama-7b-hf"),
        ("llama_13b", "decapoda-research/llama-13b-hf"),
        ("bloom_7b", "bigscience/bloomz-7b1-mt"),
    ],
)
def test_short_names_of_alpaca_cot_are_names_of_models(name, hub_id):
    kind, _, size = name.partition("_")
    assert weights_of(kind, size) == weights_of(name, None) == hub_id
    assert pullable_models(load_host().adapters)[name][0].hub_id == hub_id
    with pytest.raises(ModelError, match=f"type `camelid models pull {name}`"):
        resolve_model(name, load_host())


def test_a_type_alone_is_the_first_of_its_sizes_and_an_unknown_size_is_none():
    assert weights_of("llama", None) == DEFAULT_WEIGHTS
    assert weights_of("llama", "70b") == ""


def test_a_plugin_gives_short_names_with_its_adapter(monkeypatch):
    sized = ModelAdapter("moth", "", ("moth",), pullable=(PullableModel("moth_6b", "org/moth-6b", "mit"),))
    bare = ModelAdapter("wing", "", ("wing",), pullable=(PullableModel("wing", "org/wing-sft", "mit"),))
    host = Host()
    monkeypatch.setattr("camelid_core.compat.families.load_host", lambda: host)
    for each in (sized, bare):
        host.adapters.add(each, "test")
    assert [weights_of("moth", "6b"), weights_of("moth_6b", None), weights_of("moth", None)] == ["org/moth-6b"] * 3
    assert weights_of("wing", None) == "org/wing-sft"


@pytest.mark.parametrize("adapter", load_host().adapters, ids=lambda adapter: adapter.name)
def test_every_model_that_can_be_pulled_names_a_template_and_a_licence(adapter):
    for pullable in adapter.pullable:
        assert pullable.licence
        assert not pullable.template or pullable.template in load_host().templates
