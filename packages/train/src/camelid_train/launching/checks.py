"""Checks of the `[launch]` section before any process is started.

Knows the recipe and this machine. Imports torch only to count GPUs.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from camelid_core.errors import ConfigError, MissingPackage

from camelid_train.distributed.world import World, world_from_environment

if TYPE_CHECKING:
    from camelid_train.config import Recipe

_NODE_VARIABLES = ("MASTER_ADDR", "NODE_RANK")
_SHARDED = ("lora", "full")
_REASONS = {
    "qlora": "its 4-bit and 8-bit weights are packed and cannot be cut in shards",
    "lora-gptq": "its packed weights cannot be cut in shards",
    "adalora": "it prunes ranks, which needs whole tensors",
}


def check(recipe: Recipe, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse a recipe that cannot be launched.

    Raises:
        ConfigError: naming the field and what to type instead.
        MissingPackage: the strategy needs one that is not installed.
    """
    section, world = recipe.launch, world_from_environment(environment)
    processes = world.local_size if world.size > 1 else section.processes
    if section.strategy != "ddp":
        _check_strategy(recipe, world)
    if section.executor != "local":
        return  # its machines are others, and have other cards
    if world.size == 1 and section.nodes > 1:
        _check_nodes(section.nodes, environment)
    gpus = _gpu_count() if processes > 1 else 0
    if gpus and processes > gpus:
        raise ConfigError(
            f"launch.processes is {processes}, but this machine has {gpus} GPU{'s' * (gpus > 1)}: each "
            f"process needs its own. Type launch.processes={gpus}."
        )


def _check_strategy(recipe: Recipe, world: World) -> None:
    strategy, method = recipe.launch.strategy, recipe.method.type
    if world.size == 1 and recipe.launch.processes * recipe.launch.nodes == 1:
        raise ConfigError(
            f"launch.strategy={strategy!r} shards a model over processes, and there is one. "
            "Type launch.processes=2 or more, or launch.strategy=ddp."
        )
    if strategy == "deepspeed" and recipe.train.best:
        raise ConfigError(
            "train.best does not go with launch.strategy='deepspeed', which keeps no checkpoints to choose from. "
            "Type launch.strategy=fsdp, or train.best=false."
        )
    if strategy == "deepspeed" and importlib.util.find_spec("deepspeed") is None:
        raise MissingPackage(
            "launch.strategy='deepspeed' needs the package deepspeed. Type `pip install 'camelid-train[deepspeed]'`, "
            "or launch.strategy=fsdp."
        )
    objective = recipe.objective.type
    if objective != "sft":
        raise ConfigError(
            f"objective.type={objective!r} does not go with launch.strategy={strategy!r}: it needs whole models beside "
            "each other. Type launch.strategy=ddp."
        )
    if method not in _SHARDED:
        reason = _REASONS.get(method, f"only {' and '.join(_SHARDED)} are made for models in shards")
        raise ConfigError(
            f"method.type={method!r} does not go with launch.strategy={strategy!r}: {reason}. Type launch.strategy=ddp."
        )


def _check_nodes(nodes: int, environment: Mapping[str, str]) -> None:
    missing = [name for name in _NODE_VARIABLES if not environment.get(name)]
    if missing:
        raise ConfigError(
            f"launch.nodes is {nodes}, but {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set. "
            "Queue the run with --detach and start `camelid worker` on each machine; or set MASTER_ADDR to the address "
            "of the first one and NODE_RANK to 0, 1, … , then run the same command on each."
        )
    rank = environment["NODE_RANK"]
    if not rank.isdecimal() or int(rank) >= nodes:
        raise ConfigError(f"NODE_RANK is {rank!r}; with launch.nodes={nodes} it is one of 0 to {nodes - 1}.")


def _gpu_count() -> int:
    import torch

    return torch.cuda.device_count()
