"""Merging: estimates, refusals, the command line."""

from __future__ import annotations

import inspect
import json
import shutil
from collections import namedtuple

import pytest
import torch
from camelid_core.artefacts import BaseModelEntry, Manifest, write_manifest
from camelid_core.errors import ModelError, UsageError
from camelid_core.models.model_size import parameters
from camelid_core.models.weight_files import WeightFiles
from camelid_train.export.merge_config import MergeConfig
from camelid_ui.services import merge as merging
from safetensors.torch import load_file, save_file


def test_sizes_are_those_of_the_base(services, adapter, tiny):
    found = services.merge.estimate(MergeConfig(adapter=adapter))
    assert found.size == WeightFiles(tiny).size
    assert services.merge.estimate(MergeConfig(adapter=adapter, dtype="bfloat16")).size == parameters(tiny) * 2
    assert found.fits


def test_a_base_that_is_stored_quantised_counts_as_what_it_is_merged_into(services, home, tiny, tmp_path):
    """The plain model it was made from; or on request its own weights, dequantised. Without a model it is not offered,
    and all else is."""
    plain, gptq = load_file(tiny / "model.safetensors"), shutil.copytree(tiny, tmp_path / "gptq")
    stored = {}
    for name, tensor in plain.items():
        if "_proj." not in name:
            stored[name] = tensor
            continue
        layer, (outputs, inputs) = name.removesuffix(".weight"), tensor.shape
        stored[f"{layer}.qweight"] = torch.zeros(inputs // 8, outputs, dtype=torch.int32)
        stored[f"{layer}.qzeros"] = torch.zeros(1, outputs // 8, dtype=torch.int32)
        stored[f"{layer}.scales"] = torch.zeros(1, outputs, dtype=torch.float16)
        stored[f"{layer}.g_idx"] = torch.zeros(inputs, dtype=torch.int32)
    save_file(stored, gptq / "model.safetensors", {"format": "pt"})
    settings = {"bits": 4, "group_size": -1, "quant_method": "gptq"}
    config = json.loads((tiny / "config.json").read_text()) | {"quantization_config": settings}
    (gptq / "config.json").write_text(json.dumps(config))
    directory = home / "artefacts" / "on-gptq"
    directory.mkdir(parents=True)
    (directory / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(gptq)}))
    write_manifest(directory, Manifest(kind="adapter", base=BaseModelEntry(id="gptq", path=str(gptq))))
    on_it = MergeConfig(adapter="on-gptq", memory="whole")
    changed = {"dtype": "float16", "weights": "as-trained"}
    dequantised = services.merge.estimate(on_it.model_copy(update=changed))
    count = sum(tensor.numel() for tensor in plain.values())
    assert (dequantised.size, dequantised.memory) == (2 * count, 4 * count)
    with pytest.raises(ModelError, match="made from"):
        services.merge.estimate(on_it)
    offers = services.exports.offers("on-gptq")
    assert "made from" in offers[0].refusal
    write_manifest(gptq, Manifest(kind="gptq", parameters={"export": {"source": {"path": str(tiny)}}}))
    assert services.merge.estimate(on_it).size == WeightFiles(tiny).size
    assert services.merge.estimate(on_it).memory == 4 * count


def test_a_job_is_queued_under_the_adapters_name(services, adapter):
    assert services.merge.start(MergeConfig(adapter=adapter)).name == "tuned-merged"
    assert len(services.merge.all()) == 1


def test_a_full_model_and_a_full_disk_are_refused(services, adapter, monkeypatch):
    with pytest.raises(ModelError, match="nothing to merge"):
        services.merge.start(MergeConfig(adapter="tiny"))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(merging.shutil, "disk_usage", lambda path: usage(1, 1, 1000))
    with pytest.raises(UsageError, match="Free some space"):
        services.merge.start(MergeConfig(adapter=adapter))
    assert services.merge.all() == []


def test_the_command_line_says_the_same(services):
    from camelid_train.commands.merge import merge

    assert services.merge.command(MergeConfig(adapter="a")) == "camelid merge a"
    every = MergeConfig(
        adapter="a b", others=["c:0.5"], combine="dare", density=0.4, dare_seed=3, base_model="b", dtype="float16",
        weights="as-trained", memory="whole", shard="1GB", output="o",
    )  # fmt: skip
    assert set(every.model_fields_set) == set(MergeConfig.model_fields)
    said = services.merge.command(every)
    assert said.startswith("camelid merge 'a b' c:0.5 --combine dare --density 0.4 --dare-seed 3 --base-model b ")
    assert said.endswith(" --dtype float16 --weights as-trained --memory whole --shard 1GB --out o")
    options = {option.removeprefix("--").replace("-", "_") for option in said.split() if option.startswith("--")}
    assert options <= set(inspect.signature(merge).parameters)
