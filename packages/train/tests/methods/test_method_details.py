"""What is particular to single methods: dtypes, rank schedules, layers, and what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import util

import pytest
import torch
from camelid_core.errors import ConfigError, MissingPackage, ModelError
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_train.methods import MethodContext, gptq
from camelid_train.methods.adalora import ADALORA, AdaLoraMethod, rank_schedule
from camelid_train.methods.full import FULL, FullMethod
from camelid_train.methods.gptq import GPTQ_LORA, GptqLoraMethod
from camelid_train.methods.ia3 import IA3, Ia3Method, ia3_targets
from camelid_train.methods.qlora import QLORA, QloraMethod
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM


@pytest.fixture
def method_context(base):
    return lambda family="llama", **more: MethodContext(resolve_model(str(base(family)), load_host()), **more)


def test_all_weights_learn_in_float32_and_are_stored_as_the_base_is(method_context, base, tmp_path):
    AutoModelForCausalLM.from_pretrained(base(), dtype=torch.bfloat16).save_pretrained(tmp_path / "half")
    resolved = resolve_model(str(tmp_path / "half"), load_host())
    for dtype, trained, stored in (
        ("auto", torch.float32, "bfloat16"),
        ("float16", torch.float32, "float16"),
    ):
        model = FULL.load(resolved, dtype, FullMethod())
        model = FULL.prepare(model, FullMethod(), MethodContext(resolved, dtype))
        assert {parameter.dtype for parameter in model.parameters() if parameter.requires_grad} == {trained}
        FULL.save(model, FullMethod(), MethodContext(resolved, dtype), tmp_path / dtype)
        assert json.loads((tmp_path / dtype / "config.json").read_text())["dtype"] == stored


def test_a_large_model_is_stored_in_several_files(method_context, tmp_path):
    method = FullMethod(shard="100KB")
    model = FULL.load(method_context().resolved, "float32", method)
    FULL.save(model, method, method_context(), tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    again = AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())


def test_embeddings_can_stay_as_they_are(method_context):
    method = FullMethod(embeddings=False)
    model = FULL.prepare(FULL.load(method_context().resolved, "float32", method), method, method_context())
    still = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert set(still) == {"model.embed_tokens.weight", "lm_head.weight"}


@given(st.integers(1, 100_000))
def test_ranks_have_time_to_move_in_any_run(steps):
    first, last = rank_schedule(AdaLoraMethod(), steps)
    assert first >= 0
    assert last >= 0
    assert first + last < steps


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"warmup_steps": 200, "final_steps": 1000}, "leave none of the 500 steps to move ranks in"),
        ({"target_r": 16}, r"target_r=16 is above method\.initial_r=12"),
    ],
)
def test_a_schedule_that_cannot_be_is_a_sentence(fields, sentence):
    with pytest.raises(ConfigError, match=sentence):
        rank_schedule(AdaLoraMethod(**fields), 500)


def test_ranks_move_and_the_penalty_is_what_peft_adds_to_its_own_loss(method_context):
    method = AdaLoraMethod(every=1, initial_r=6, target_r=2, targets=["all-linear"])
    model = ADALORA.load(method_context().resolved, "float32", method)
    model = ADALORA.prepare(model, method, method_context(steps=12))
    ids = torch.arange(5, 25).reshape(2, 10)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for step in range(1, 13):
        theirs = model(input_ids=ids, labels=ids).loss
        with torch.no_grad():
            plain = model.base_model.model(input_ids=ids, labels=ids).loss
            assert float(theirs - plain) == pytest.approx(float(ADALORA.penalty(model)), abs=1e-4)
        theirs.backward()
        optimizer.step()
        ADALORA.after_step(model, step)
        optimizer.zero_grad()
    kept = [int(sum(ranks)) for ranks in model.peft_config["default"].rank_pattern.values()]
    assert sum(kept) == 2 * len(kept)
    assert len(set(kept)) > 1


@pytest.mark.parametrize(
    ("family", "attention", "feed_forward"),
    [
        ("llama", ["k_proj", "v_proj"], ["down_proj"]),
        ("gemma", ["k_proj", "v_proj"], ["down_proj"]),
        ("bloom", ["query_key_value"], ["dense_4h_to_h"]),
        ("gpt_neox", ["query_key_value"], ["dense_4h_to_h"]),
    ],
)
def test_ia3_scales_keys_values_and_the_last_of_the_feed_forward(method_context, family, attention, feed_forward):
    model = IA3.load(method_context(family).resolved, "float32", Ia3Method())
    model = IA3.prepare(model, Ia3Method(), method_context(family))
    config = model.peft_config["default"]
    assert set(config.target_modules) == {*attention, *feed_forward}
    assert set(config.feedforward_modules) == set(feed_forward)


def test_ia3_takes_what_it_is_told_and_says_what_it_does_not_find():
    names = ["h.0.mixer", "h.0.out", "h.1.mixer", "h.1.out"]
    assert ia3_targets(names, Ia3Method(targets=["mixer"])) == (["mixer"], [])
    assert ia3_targets(names, Ia3Method(targets=["mixer"], feed_forward=["out"])) == (["mixer"], ["out"])
    with pytest.raises(ModelError, match=r"name them in method\.targets=\[\"…\"\]\. It has mixer, out"):
        ia3_targets(names, Ia3Method())
    with pytest.raises(ModelError, match="no linear layer 'mixr'; it has mixer, out"):
        ia3_targets(names, Ia3Method(targets=["mixr"]))


def test_a_quantised_base_takes_a_fraction_and_only_adapters_learn(method_context):
    plain = FULL.load(method_context().resolved, "float32", FullMethod()).get_memory_footprint()
    sizes = {}
    for quantization in ("nf4", "int8"):
        method = QloraMethod(quantization=quantization)
        model = QLORA.load(method_context().resolved, "float32", method)
        sizes[quantization] = model.get_memory_footprint()
        prepared = QLORA.prepare(model, method, method_context())
        trained = {name: p for name, p in prepared.named_parameters() if p.requires_grad}
        assert all("lora_" in name and p.dtype == torch.float32 for name, p in trained.items())
    assert sizes["nf4"] < sizes["int8"] < plain


def gptq_base(method_context):
    resolved = method_context().resolved
    return replace(resolved, config={**resolved.config, "quantization_config": {"quant_method": "gptq", "bits": 4}})


def test_an_evaluation_leaves_a_quantised_base_as_it_learned(method_context):
    """Gradients are the same before and after a pass that needs none."""
    resolved = method_context().resolved
    section = QloraMethod(r=2)
    model = QLORA.prepare(QLORA.load(resolved, "float32", section), section, method_context())
    ids = torch.arange(4, 12)[None]

    def gradients() -> list[torch.Tensor]:
        model.train()
        model.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        return [each.grad.clone() for each in model.parameters() if each.grad is not None]

    before = gradients()
    model.eval()
    with torch.inference_mode():
        model(input_ids=ids)
    after = gradients()
    assert len(before) == len(after) > 0
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_what_is_missing_for_a_quantised_base_is_named(method_context, monkeypatch):
    monkeypatch.setattr(gptq, "find_spec", lambda name: None)
    with pytest.raises(
        MissingPackage, match=r"needs gptqmodel and optimum; type `pip install 'camelid-train\[gptq\]'`"
    ):
        GPTQ_LORA.load(gptq_base(method_context), "float32", GptqLoraMethod())
    with pytest.raises(ModelError, match="is stored unquantised, not as GPTQ"):
        GPTQ_LORA.load(method_context().resolved, "float32", GptqLoraMethod())
    with pytest.raises(ModelError, match=r"is stored quantised \(gptq\)"):
        QLORA.load(gptq_base(method_context), "float32", QloraMethod())
    assert util.find_spec("bitsandbytes")
