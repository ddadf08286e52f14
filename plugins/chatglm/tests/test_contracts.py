"""The converters keep the contract that every converter keeps, and LoRA adapters are translated both ways."""

from __future__ import annotations

import json

import pytest
import torch
from camelid_core.converter_contract import adapter_changes, assert_converter_contract, random_adapter
from camelid_core.models.adapter_conversion import convert_adapter
from camelid_core.models.loading import load_base
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_core.testing import assert_adapter_contract
from safetensors.torch import save_file

from . import reference_chatglm, reference_glm
from .originals import HEADS, ice_ids, make_chatglm, make_glm, original_weights

IDS = ice_ids()
MARKS = {"mask_token": IDS["[MASK]"], "gmask_token": IDS["[gMASK]"], "sop": IDS["<sop>"]}
ROW = [200, 201, IDS["[gMASK]"], IDS["<sop>"], 210, 211]
LAYERS = {
    "chatglm": "transformer.layers.{}.attention.query_key_value",
    "glm": "transformer.encoder.layers.{}.self_attention.query_key_value",
}


def logits_of(kind, weights, config, row):
    if kind == "chatglm":
        return reference_chatglm.logits_of(weights, row, config["num_layers"], HEADS, **MARKS)
    return reference_glm.logits_of(weights, row, config)


def reference(weights, config, rows):
    kind = "glm" if "padded_vocab_size" in config else "chatglm"
    return torch.stack([logits_of(kind, weights, config, row) for row in rows.tolist()])


def as_safetensors(source):
    save_file(original_weights(source), source / "model.safetensors")
    for path in source.glob("pytorch_model*"):
        path.unlink()
    return source


@pytest.mark.parametrize("kind", ["chatglm", "glm"])
def test_the_converter_keeps_its_contract(home, tmp_path, kind):
    make = {"chatglm": make_chatglm, "glm": make_glm}[kind]
    source = as_safetensors(make(tmp_path / "original"))
    assert_converter_contract(source, tmp_path / "out", load_host(), reference, torch.tensor([ROW]))


def test_the_family_keeps_the_contract_of_families():
    family = next(adapter for adapter in load_host().adapters if adapter.name == "chatglm")
    names = [
        f"transformer.layers.{number}.attention.{part}" for number in (0, 1) for part in ("query_key_value", "dense")
    ]
    assert_adapter_contract(family, load_host().templates.names(), names)


@pytest.mark.parametrize("kind", ["chatglm", "glm"])
def test_lora_on_the_originals_names_gives_the_same_logits_on_the_converted_model_and_comes_back(
    home, tmp_path, convert, kind
):
    source = {"chatglm": make_chatglm, "glm": make_glm}[kind](tmp_path / "original")
    converted, weights = convert(source, tmp_path / "converted"), original_weights(source)
    names = [LAYERS[kind].format(number) for number in (0, 1)]
    adapter = random_adapter(tmp_path / "adapter", {name: tuple(weights[f"{name}.weight"].shape) for name in names})
    convert_adapter(adapter, converted, tmp_path / "there", load_host())
    changed = weights | {
        f"{name}.weight": weights[f"{name}.weight"] + change for name, change in adapter_changes(adapter).items()
    }
    config = json.loads((source / "config.json").read_text())
    base = load_base(resolve_model(str(converted), load_host()), "float32")
    with torch.no_grad():
        plain = base.eval()(torch.tensor([ROW])).logits[0]
        for name, change in adapter_changes(tmp_path / "there").items():
            base.get_submodule(name).weight += change
        adapted = base(torch.tensor([ROW])).logits[0]
    assert (adapted - logits_of(kind, changed, config, ROW)).abs().max() < 1e-5
    assert (adapted - plain).abs().max() > 1e-3
    if kind == "glm":  # ChatGLM-6B's names are the converted model's own: there is nothing to come back from
        convert_adapter(tmp_path / "there", converted, tmp_path / "back", load_host())
        for name, change in adapter_changes(tmp_path / "back").items():
            assert (change - adapter_changes(adapter)[name]).abs().max() < 1e-6
