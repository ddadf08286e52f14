"""Rank and world size from the environment, the global batch, and launches that are refused."""

from __future__ import annotations

import pytest
from camelid_core.errors import ConfigError, MissingPackage
from camelid_train.distributed import agreement
from camelid_train.distributed.strategies import deepspeed_config
from camelid_train.distributed.world import SINGLE_PROCESS, World, world_from_environment
from camelid_train.launching import checks

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "a",
    "MASTER_PORT": "1",
}


def test_one_process_is_all_there_is_without_a_launcher():
    assert world_from_environment({}) == SINGLE_PROCESS
    assert (SINGLE_PROCESS.is_local_main_process, SINGLE_PROCESS.nodes, SINGLE_PROCESS.node) == (True, 1, 0)


def test_what_torchrun_says_is_believed():
    world = world_from_environment(TORCHRUN)
    assert world == World(rank=5, size=8, local_rank=1, local_size=4)
    assert (world.is_local_main_process, world.nodes, world.node) == (False, 2, 1)


@pytest.mark.parametrize("missing", sorted(TORCHRUN))
def test_a_cluster_that_sets_some_of_these_for_whole_machines_is_no_launcher(missing):
    assert (
        world_from_environment({name: value for name, value in TORCHRUN.items() if name != missing}) == SINGLE_PROCESS
    )


@pytest.mark.parametrize(
    ("overrides", "world", "text"),
    [
        (("train.batch_size=4",), SINGLE_PROCESS, "global batch 4 = 4"),
        (("train.batch_size=4", "train.accumulation=2"), World(0, 2, 0, 2), "global batch 16 = 4 × 2 × 2 processes"),
        (
            ("train.batch_size=128", "train.accumulation=8"),
            World(0, 8, 0, 4),
            "global batch 8,192 = 128 × 8 × 4 processes × 2 machines",
        ),
    ],
)
def test_the_global_batch_is_stated_with_its_factors(recipe, overrides, world, text):
    assert agreement.global_batch(recipe(*overrides).train, world) == text


@pytest.mark.parametrize(
    ("overrides", "environment", "sentence"),
    [
        (("launch.nodes=2",), {}, "MASTER_ADDR and NODE_RANK are not set. Queue the run with --detach"),
        (("launch.nodes=2",), {"MASTER_ADDR": "a"}, r"launch\.nodes is 2, but NODE_RANK is not set"),
        (("launch.nodes=2",), {"MASTER_ADDR": "a", "NODE_RANK": "2"}, "NODE_RANK is '2'; .* one of 0 to 1"),
        (("launch.nodes=2",), {"MASTER_ADDR": "a", "NODE_RANK": "one"}, "NODE_RANK is 'one'"),
        (("launch.strategy=fsdp",), {}, "and there is one. Type launch.processes=2 or more"),
        (("launch.strategy=fsdp", "launch.processes=2", "method.type=qlora"), {}, "packed and cannot be cut in shards"),
        (("launch.strategy=fsdp", "launch.processes=2", "method.type=adalora"), {}, r"Type launch\.strategy=ddp"),
        (("launch.strategy=fsdp", "launch.processes=2", "method.type=prompt"), {}, "only lora and full are made for"),
        (("launch.strategy=deepspeed", "launch.processes=2", "train.best=true"), {}, "no checkpoints to choose from"),
    ],
)
def test_what_cannot_be_launched_is_refused_with_what_to_type(recipe, overrides, environment, sentence):
    with pytest.raises(ConfigError, match=sentence):
        checks.check(recipe(*overrides), environment)


def test_more_processes_than_cards_are_refused(recipe, monkeypatch):
    monkeypatch.setattr(checks, "_gpu_count", lambda: 2)
    checks.check(recipe("launch.processes=2"), {})
    with pytest.raises(ConfigError, match=r"this machine has 2 GPUs: .* Type launch\.processes=2"):
        checks.check(recipe("launch.processes=3"), {})
    with pytest.raises(ConfigError, match="has 2 GPUs"):
        checks.check(recipe(), TORCHRUN)


def test_a_strategy_whose_package_is_missing_says_what_to_install(recipe, monkeypatch):
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"pip install 'camelid-train\[deepspeed\]'"):
        checks.check(recipe("launch.strategy=deepspeed", "launch.processes=2"), {})


@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeed_is_told_the_stage_and_leaves_the_batch_to_the_trainer(stage):
    config = deepspeed_config(stage)
    assert config["zero_optimization"]["stage"] == stage
    assert ("stage3_gather_16bit_weights_on_model_save" in config["zero_optimization"]) == (stage == 3)
    assert config["train_micro_batch_size_per_gpu"] == config["gradient_accumulation_steps"] == "auto"
