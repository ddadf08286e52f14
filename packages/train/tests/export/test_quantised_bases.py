"""Adapters of a quantised base: merged onto the model it was made from, or onto its dequantised weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from camelid_core.artefacts import BaseModelEntry, Manifest, verify_directory, write_manifest
from camelid_core.errors import ModelError
from camelid_core.integrity import fingerprint
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_train.export import export_plan, task
from camelid_train.export.config import ExportConfig
from camelid_train.export.gptq_weights import GptqWeightFiles, unpacked
from camelid_train.export.merge import merge
from camelid_train.export.merge_config import MergeConfig
from camelid_train.export.stored_weights import plain_values
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

GROUP = 32


def packed(numbers: np.ndarray, bits: int) -> torch.Tensor:
    """Numbers [rows, n] in rows of int32, written one bit after the other, the lowest first."""
    text = np.array([[(number >> bit) & 1 for number in row for bit in range(bits)] for row in numbers], np.uint8)
    return torch.from_numpy(np.packbits(text, axis=1, bitorder="little").view(np.int32).copy())


@given(st.sampled_from([2, 3, 4, 8]), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_numbers_of_any_size_come_back(bits, rows, seed):
    numbers = np.random.default_rng(seed).integers(0, 2**bits, (rows, 64))
    assert np.array_equal(unpacked(packed(numbers, bits), bits).numpy(), numbers)


def gptq_of(base: Path, directory: Path, bits: int = 4, act_order: bool = False) -> dict[str, torch.Tensor]:
    """A model whose layers are stored as GPTQ stores them, rounded to nearest; returns what they then are."""
    shutil.copytree(base, directory)
    stored, meant = {}, {}
    for name, tensor in load_file(base / "model.safetensors").items():
        meant[name] = tensor
        if ".self_attn." not in name and ".mlp." not in name:
            stored[name] = tensor.half()
            continue
        layer, (outputs, inputs) = name.removesuffix(".weight"), tensor.shape
        groups = torch.arange(inputs) // GROUP
        groups = groups[torch.randperm(inputs)] if act_order else groups
        middle = 2 ** (bits - 1)
        scales = torch.stack([tensor[:, groups == g].abs().amax(1) / (middle - 0.5) for g in range(inputs // GROUP)])
        scales = scales.half()
        numbers = (tensor / scales.float()[groups].T).round().add(middle).clamp(0, 2**bits - 1).int()
        zeros = np.full((inputs // GROUP, outputs), middle - 1)  # the first version stores one less
        stored |= {
            f"{layer}.qweight": packed(numbers.numpy(), bits).T.contiguous(),
            f"{layer}.qzeros": packed(zeros, bits),
            f"{layer}.scales": scales,
            f"{layer}.g_idx": groups.int(),
            f"{layer}.bias": torch.zeros(outputs).half(),
        }
        meant[name] = (numbers.float() - middle) * scales.float()[groups].T
    save_file(stored, directory / "model.safetensors", {"format": "pt"})
    settings = {"bits": bits, "group_size": GROUP, "desc_act": act_order, "quant_method": "gptq", "sym": True}
    config = json.loads((base / "config.json").read_text()) | {"quantization_config": settings}
    (directory / "config.json").write_text(json.dumps(config))
    return meant


@pytest.mark.parametrize(("bits", "act_order"), [(2, False), (3, False), (4, True), (8, False)])
def test_dequantised_weights_are_what_was_stored(base, tmp_path, bits, act_order):
    meant = gptq_of(base(), tmp_path / "gptq", bits, act_order)
    files = GptqWeightFiles(tmp_path / "gptq", {"bits": bits}, meant)
    assert files.names == sorted(meant)
    assert files.count == sum(tensor.numel() for tensor in meant.values())
    resolved = resolve_model(str(tmp_path / "gptq"), load_host())
    assert plain_values(resolved) == {name: tensor.numel() for name, tensor in meant.items()}
    for name, tensor in meant.items():
        assert files.shape(name) == tensor.shape
        assert torch.allclose(files.tensor(name).float(), tensor, atol=1e-3), name


@pytest.fixture
def on_gptq(adapter, base, tmp_path):
    """A foreign adapter on a GPTQ model, what its layers are, and the plain model."""
    meant = gptq_of(base(), tmp_path / "gptq")
    directory = adapter(base(), tmp_path / "adapter", target_modules=["q_proj", "down_proj"])
    config = json.loads((directory / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(tmp_path / "gptq")
    (directory / "adapter_config.json").write_text(json.dumps(config))
    return directory, meant, tmp_path / "gptq"


def expected(plain: dict[str, torch.Tensor], base: Path, directory: Path) -> dict[str, torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model.load_state_dict(plain)
    return PeftModel.from_pretrained(model, directory).merge_and_unload().state_dict()


def test_it_is_merged_onto_the_dequantised_weights_on_request(attempt, base, on_gptq):
    directory, meant, _ = on_gptq
    run = attempt()
    merge(MergeConfig(adapter=str(directory), weights="as-trained", dtype="float32"), run)
    for name, tensor in expected(meant, base(), directory).items():
        assert torch.allclose(load_file(run.output / "model.safetensors")[name], tensor, atol=2e-3), name
    assert "quantization_config" not in json.loads((run.output / "config.json").read_text())
    AutoModelForCausalLM.from_pretrained(run.output)


@pytest.mark.parametrize("found", ["given", "manifest"])
def test_it_is_merged_onto_the_model_that_the_base_was_made_from(attempt, base, on_gptq, found):
    directory, _, gptq = on_gptq
    if found == "manifest":
        write_manifest(gptq, Manifest(kind="gptq", parameters={"export": {"source": {"path": str(base())}}}))
    entry = BaseModelEntry(id="mine", path=str(gptq), fingerprint=fingerprint(gptq))
    write_manifest(directory, Manifest(kind="adapter", base=entry))
    run = attempt()
    merge(MergeConfig(adapter=str(directory), base_model=str(base()) if found == "given" else ""), run)
    plain = AutoModelForCausalLM.from_pretrained(base(), dtype=torch.float32).state_dict()
    for name, tensor in expected(plain, base(), directory).items():
        assert torch.allclose(load_file(run.output / "model.safetensors")[name], tensor, atol=1e-5), name
    assert verify_directory(run.output).manifest.base.fingerprint == fingerprint(base())
    assert any("not into" in event["text"] for event in run.events("log"))


@pytest.mark.parametrize("source", [True, False])
def test_an_export_of_it_is_estimated_by_what_it_is_merged_into(base, on_gptq, tmp_path, source):
    """By the plain model and not by what is stored; without one it is refused before anything is made."""
    directory, _, gptq = on_gptq
    if source:
        write_manifest(gptq, Manifest(kind="gptq", parameters={"export": {"source": {"path": str(base())}}}))
    to = {"type": "bitsandbytes", "quantization": "int8"}
    of_adapter, of_plain = (
        ExportConfig.model_validate({"source": str(each), "to": to}) for each in (directory, base())
    )
    found = export_plan.export_source(of_adapter, load_host())
    if source:
        plain = export_plan.check(of_plain, export_plan.export_source(of_plain, load_host()), tmp_path)
        assert export_plan.check(of_adapter, found, tmp_path) == plain
    else:
        with pytest.raises(ModelError, match="Name that model with base_model"):
            export_plan.check(of_adapter, found, tmp_path)


def test_another_model_than_it_was_made_from_is_refused(attempt, base, on_gptq, tmp_path):
    directory, _, gptq = on_gptq
    other = shutil.copytree(base(), tmp_path / "other")
    tensors = load_file(other / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"] + 0.5
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    for number, (options, words) in enumerate(
        (
            ({"base_model": str(other)}, r"is not the model that .* was made from: 'model.norm.weight' differs"),
            ({"base_model": str(gptq)}, "is no full-precision model"),
            ({}, 'Name that model with base_model, or .* weights="as-trained"'),
            ({"weights": "as-trained", "memory": "whole"}, "layer by layer only"),
        ),
        1,
    ):
        with pytest.raises(ModelError, match=words):
            merge(MergeConfig(adapter=str(directory), **options), attempt(job=number))


@pytest.mark.filterwarnings("ignore::UserWarning:bitsandbytes")
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_a_base_stored_by_bitsandbytes_is_dequantised_whole(attempt, adapter, base, tmp_path, quantization):
    stored = attempt(job=1)
    to = {"type": "bitsandbytes", "quantization": quantization}
    task.export(ExportConfig.model_validate({"source": str(base()), "to": to}), stored)
    counts = {name: tensor.numel() for name, tensor in load_file(base() / "model.safetensors").items()}
    assert plain_values(resolve_model(str(stored.output), load_host())) == counts
    directory = adapter(base(), tmp_path / "adapter", target_modules=["q_proj"])
    config = json.loads((directory / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(stored.output)
    (directory / "adapter_config.json").write_text(json.dumps(config))
    run = attempt(job=2)
    merge(MergeConfig(adapter=str(directory), weights="as-trained", dtype="float32"), run)
    ours, plain = load_file(run.output / "model.safetensors"), load_file(base() / "model.safetensors")
    off = (ours["model.layers.0.mlp.up_proj.weight"] - plain["model.layers.0.mlp.up_proj.weight"]).abs().max()
    assert 0 < off < 0.1
    assert "quantization_config" not in json.loads((run.output / "config.json").read_text())
    onto_plain = attempt(job=3)
    merge(MergeConfig(adapter=str(directory), dtype="float32"), onto_plain)  # its manifest names the source
    for name, tensor in expected(plain, base(), directory).items():
        assert torch.allclose(load_file(onto_plain.output / "model.safetensors")[name], tensor, atol=1e-5), name
