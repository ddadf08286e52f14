"""LoRA adapters between `W_pack` and the projections it is split into: the same weights, both ways."""

from __future__ import annotations

import json

import pytest
import torch
from camelid_core.converter_contract import adapter_changes, assert_same_logits, convert, logits, random_adapter
from camelid_core.errors import ModelError
from camelid_core.models.adapter_conversion import convert_adapter
from camelid_core.models.loading import load_with_adapter
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from safetensors.torch import load_file

from . import reference_baichuan
from .conftest import CONFIGS

IDS = torch.arange(3, 39).reshape(2, 18)


@pytest.fixture
def layers():
    hidden = CONFIGS["baichuan2-7b"]["hidden_size"]
    return lambda *names: {
        f"model.layers.{number}.self_attn.{name}": (3 * hidden if name == "W_pack" else hidden, hidden)
        for number in range(2)
        for name in names
    }


@pytest.mark.parametrize("name", ["baichuan2-7b", "baichuan2-13b"])
def test_an_adapter_on_w_pack_does_the_same_to_the_converted_model(home, tmp_path, original, layers, name):
    host = load_host()
    source = original(name)
    model, _ = convert(source, tmp_path / "model", host)
    old = random_adapter(tmp_path / "old", layers("W_pack", "o_proj"))
    assert convert_adapter(old, model, tmp_path / "new", host) == "to the converted model"
    tensors = load_file(source / "model.safetensors")
    for layer, change in adapter_changes(old).items():
        tensors[f"{layer}.weight"] = tensors[f"{layer}.weight"] + change
    adapted = load_with_adapter(resolve_model(str(tmp_path / "new"), host), "float32")
    with torch.no_grad():
        found = adapted(input_ids=IDS).logits
    assert_same_logits(found, reference_baichuan.logits(tensors, CONFIGS[name], IDS))
    assert not found.allclose(logits(model, host, IDS), atol=1e-3)


def test_translated_back_it_is_the_same_adapter_at_the_same_rank(home, tmp_path, original, layers):
    host = load_host()
    model, _ = convert(original("baichuan-7b"), tmp_path / "model", host)
    old = random_adapter(tmp_path / "old", layers("W_pack"))
    convert_adapter(old, model, tmp_path / "new", host)
    assert convert_adapter(tmp_path / "new", model, tmp_path / "back", host) == "to the original"
    before, after = (load_file(path / "adapter_model.safetensors") for path in (old, tmp_path / "back"))
    assert before.keys() == after.keys()
    assert all(tensor.equal(after[name]) for name, tensor in before.items())


@pytest.mark.parametrize("rslora", [False, True])
def test_one_trained_on_the_parts_gets_the_rank_that_the_whole_needs(home, tmp_path, original, layers, rslora):
    host = load_host()
    model, _ = convert(original("baichuan-7b"), tmp_path / "model", host)
    new = random_adapter(tmp_path / "new", layers("q_proj", "v_proj", "o_proj"), use_rslora=rslora)
    assert convert_adapter(new, model, tmp_path / "old", host) == "to the original"
    config = json.loads((tmp_path / "old" / "adapter_config.json").read_text())
    assert (config["r"], config["target_modules"]) == (8, ["W_pack", "o_proj"])
    parts, whole = adapter_changes(new), adapter_changes(tmp_path / "old")
    for number in range(2):
        layer = f"model.layers.{number}.self_attn"
        queries, values = parts[f"{layer}.q_proj"], parts[f"{layer}.v_proj"]
        expected = torch.cat([queries, torch.zeros_like(queries), values])
        torch.testing.assert_close(whole[f"{layer}.W_pack"], expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(whole[f"{layer}.o_proj"], parts[f"{layer}.o_proj"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use_dora": True}, "with use_dora is not translated"),
        ({"peft_type": "IA3"}, "of the kind 'IA3' is not translated; LoRA is"),
        ({"bias": "all"}, r"biases of its base \(bias='all'\)"),
    ],
)
def test_what_is_no_plain_lora_is_a_sentence(home, tmp_path, original, layers, settings, message):
    host = load_host()
    model, _ = convert(original("baichuan-7b"), tmp_path / "model", host)
    with pytest.raises(ModelError, match=message):
        convert_adapter(random_adapter(tmp_path / "a", layers("W_pack"), **settings), model, tmp_path / "out", host)


def test_an_adapter_of_another_model_is_a_sentence(home, tmp_path, original, layers):
    host = load_host()
    source = original("baichuan-7b")
    model, _ = convert(source, tmp_path / "model", host)
    with pytest.raises(ModelError, match=r"is on 'model\.layers\.0\.strange', which neither"):
        convert_adapter(random_adapter(tmp_path / "a", {"model.layers.0.strange": (4, 4)}), model, tmp_path / "x", host)
    wrong = random_adapter(tmp_path / "b", {"model.layers.0.self_attn.W_pack": (6, 8)})
    with pytest.raises(ModelError, match=r"\[4, 8\] and \[6, 4\], for a weight of \[144, 48\]: it belongs to another"):
        convert_adapter(wrong, model, tmp_path / "out", host)
    with pytest.raises(ModelError, match="was not made by `camelid models convert`"):
        convert_adapter(random_adapter(tmp_path / "c", layers("W_pack")), source, tmp_path / "out", host)


def test_an_adapter_in_pytorchs_own_file_is_read_as_tensors_alone(
    home, tmp_path, original, layers, capsys, monkeypatch
):
    """What PEFT wrote in 2023; and the command says which way it went."""
    from camelid_core.cli import main

    host = load_host()
    model, _ = convert(original("baichuan-7b"), tmp_path / "model", host)
    old = random_adapter(tmp_path / "old", layers("W_pack"))
    torch.save(load_file(old / "adapter_model.safetensors"), old / "adapter_model.bin")
    (old / "adapter_model.safetensors").unlink()
    words = ["models", "convert-adapter", str(old), "--model", str(model), "--out", str(tmp_path / "new"), "--json"]
    monkeypatch.setattr("sys.argv", ["camelid", *words])
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    with pytest.raises(SystemExit):
        main()
    assert json.loads(capsys.readouterr().out)["translated"] == "to the converted model"
    config = json.loads((tmp_path / "new" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(model)
