"""Merging: estimates, refusals, the command line."""

from __future__ import annotations

import inspect
from collections import namedtuple

import pytest
from camelid_core.errors import ModelError, UsageError
from camelid_core.models.model_size import parameters
from camelid_train.export.merge_config import MergeConfig
from camelid_ui.services import merge as merging


def test_sizes_are_those_of_the_base(services, adapter, tiny):
    found = services.merge.estimate(MergeConfig(adapter=adapter))
    assert found.size == sum(path.stat().st_size for path in tiny.glob("*.safetensors"))
    assert services.merge.estimate(MergeConfig(adapter=adapter, dtype="bfloat16")).size == parameters(tiny) * 2
    assert found.fits


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
