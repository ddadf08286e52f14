"""Folders that auto-gptq wrote are found to be such, converted once, and stay as they were."""

from __future__ import annotations

import json

import pytest
import torch
from camelid_core.errors import ModelError
from camelid_core.models.legacy_gptq import loadable_gptq, origin_of
from camelid_core.models.resolved_model import resolve_model
from camelid_core.paths import models_dir
from camelid_core.plugins import load_host
from camelid_core.testing import isolated_home
from safetensors.torch import save_file

SETTINGS = {
    "bits": 4, "group_size": 128, "damp_percent": 0.01, "desc_act": False, "static_groups": False, "sym": True,
    "true_sequential": True, "model_name_or_path": None, "model_file_base_name": "gptq_model-4bit-128g",
    "is_marlin_format": False, "quant_method": "gptq",
}  # fmt: skip


@pytest.fixture
def legacy(tmp_path, monkeypatch):
    """A folder as auto-gptq 0.7 wrote it."""
    isolated_home(tmp_path, monkeypatch)
    directory = tmp_path / "old-GPTQ"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 8}))
    (directory / "quantize_config.json").write_text(json.dumps(SETTINGS, indent=2))
    (directory / "tokenizer.json").write_text("{}")
    save_file({"a.qweight": torch.zeros(2, 2, dtype=torch.int32)}, directory / "gptq_model-4bit-128g.safetensors")
    return directory


def files(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_legacy_folder_is_resolved_to_one_that_loads_and_stays_as_it_is(legacy):
    before = files(legacy)
    resolved = resolve_model(str(legacy), load_host())
    assert files(legacy) == before
    assert resolved.base.parent.parent == models_dir()
    assert origin_of(resolved.base) == str(legacy)
    stored = resolved.config["quantization_config"]
    assert stored["quant_method"] == "gptq"
    assert {name: stored[name] for name in ("bits", "group_size", "desc_act")} == {
        "bits": 4, "group_size": 128, "desc_act": False,
    }  # fmt: skip
    for settings in (stored, json.loads((resolved.base / "quantize_config.json").read_text())):
        assert "is_marlin_format" not in settings
        assert settings["model_file_base_name"] == "model"
    weights = resolved.base / "model.safetensors"
    assert weights.read_bytes() == before["gptq_model-4bit-128g.safetensors"]
    assert weights.is_symlink()  # the weights are not copied
    assert resolve_model(str(legacy), load_host()).base == resolved.base


def test_a_folder_that_changed_is_converted_anew(legacy):
    first = loadable_gptq(legacy)
    (legacy / "quantize_config.json").write_text(json.dumps({**SETTINGS, "bits": 8}, indent=1))
    assert loadable_gptq(legacy) != first
    assert json.loads((loadable_gptq(legacy) / "config.json").read_text())["quantization_config"]["bits"] == 8


def test_other_folders_are_left_alone(legacy):
    current = {key: value for key, value in SETTINGS.items() if key != "is_marlin_format"}
    config = {"model_type": "llama", "vocab_size": 8, "quantization_config": current}
    (legacy / "config.json").write_text(json.dumps(config))
    (legacy / "quantize_config.json").write_text(json.dumps(current))
    (legacy / "gptq_model-4bit-128g.safetensors").rename(legacy / "model.safetensors")
    assert loadable_gptq(legacy) == legacy
    (legacy / "quantize_config.json").write_text("{}")  # no settings of GPTQ
    assert loadable_gptq(legacy) == legacy
    assert origin_of(legacy) == ""


def test_several_weights_are_refused_by_name(legacy):
    settings = {**SETTINGS, "model_file_base_name": None}
    (legacy / "quantize_config.json").write_text(json.dumps(settings))
    (legacy / "other.safetensors").write_bytes((legacy / "gptq_model-4bit-128g.safetensors").read_bytes())
    with pytest.raises(ModelError, match=r"'gptq_model-4bit-128g.safetensors', 'other.safetensors'"):
        resolve_model(str(legacy), load_host())
