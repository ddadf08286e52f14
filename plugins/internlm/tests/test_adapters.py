"""LoRA adapters between `wqkv` and the projections that its interleaved rows are split into: the same weights."""

from __future__ import annotations

import pytest
import torch
from camelid_core.converter_contract import adapter_changes, assert_same_logits, convert, random_adapter
from camelid_core.models.adapter_conversion import convert_adapter
from camelid_core.models.loading import load_with_adapter
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from safetensors.torch import load_file

from . import reference_internlm
from .conftest import CONFIGS, shapes

IDS = torch.arange(3, 39).reshape(2, 18)


@pytest.mark.parametrize(
    ("name", "parts"),
    [("internlm2", ("wqkv", "wo", "w2")), ("internlm-7b", ("q_proj", "v_proj")), ("internlm3", ("k_proj", "up_proj"))],
)
def test_an_adapter_on_the_original_does_the_same_to_the_converted_model(home, tmp_path, original, name, parts):
    host, source = load_host(), original(name)
    model, _ = convert(source, tmp_path / "model", host)
    layers = {each.removesuffix(".weight"): shape for each, shape in shapes(CONFIGS[name]).items()}
    old = random_adapter(
        tmp_path / "old", {each: shape for each, shape in layers.items() if each.rpartition(".")[2] in parts}
    )
    assert convert_adapter(old, model, tmp_path / "new", host) == "to the converted model"
    tensors = load_file(source / "model.safetensors")
    for layer, change in adapter_changes(old).items():
        tensors[f"{layer}.weight"] = tensors[f"{layer}.weight"] + change
    adapted = load_with_adapter(resolve_model(str(tmp_path / "new"), host), "float32")
    with torch.no_grad():
        found = adapted(input_ids=IDS).logits
    assert_same_logits(found, reference_internlm.logits(tensors, CONFIGS[name], IDS))


def test_translated_back_it_is_the_same_adapter(home, tmp_path, original):
    host = load_host()
    model, _ = convert(original("internlm2"), tmp_path / "model", host)
    rows = shapes(CONFIGS["internlm2"])["model.layers.0.attention.wqkv.weight"]
    old = random_adapter(tmp_path / "old", {f"model.layers.{number}.attention.wqkv": rows for number in range(2)})
    convert_adapter(old, model, tmp_path / "new", host)
    assert convert_adapter(tmp_path / "new", model, tmp_path / "back", host) == "to the original"
    before, after = adapter_changes(old), adapter_changes(tmp_path / "back")
    assert before.keys() == after.keys()
    assert all(change.equal(after[name]) for name, change in before.items())
