"""Launching a run in several processes (distributed training), or joining those that torchrun or the like has started.

    train(recipe, context)     # the training task: here, or in as many processes as the recipe says

Each process (rank) takes its rows of every global batch; the local main process of each machine emits events and writes
files for all of them there. Knows nothing of losses, checkpoints' files or artefacts. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from camelid_train.distributed.world import world_from_environment

if TYPE_CHECKING:
    from camelid_core.tasks import TaskContext

    from camelid_train.config import Recipe


def train(recipe: Recipe, context: TaskContext) -> Mapping[str, Any]:
    """Run `recipe` in as many processes as it says, or as there are; the adapter or model lands in `context.output`.

    Raises:
        Interrupted: a stop with saving was requested.
        CamelidError: the data, the model or the run is not sound.
    """
    from camelid_train.monitoring.trackers import with_trackers

    from .checks import check

    check(recipe)
    with with_trackers(recipe, context) as reporting:
        if not reporting.earlier_attempts:
            reporting.emit("resume", step=0)  # now: known even if the run is stopped while it loads
        if recipe.launch.shards > 1:
            from camelid_train.tokenize_over_machines import tokenize

            tokenize(recipe, reporting)
        if recipe.launch.nodes > 1 and recipe.launch.executor != "local":
            from .over_machines import launch_over_machines

            return launch_over_machines(recipe, reporting)
        if world_from_environment().size == 1 and recipe.launch.processes * recipe.launch.nodes > 1:
            from .launch import launch

            return launch(recipe, reporting)
        return _train(recipe, reporting)


def is_secondary_process() -> bool:
    """Whether a launcher started this process, and it is not the local main process of this machine."""
    return not world_from_environment().is_local_main_process


def train_as_secondary(recipe: Recipe) -> None:
    """Train without printing or emitting anything: the local main process does."""
    from .checks import check

    check(recipe)
    _train(recipe, None)


def _train(recipe: Recipe, context: TaskContext | None) -> Mapping[str, Any]:
    from camelid_train.run import train

    if world_from_environment().size == 1:
        assert context is not None, "who is alone leads"
        return train(recipe, context)
    from camelid_train.distributed import group
    from camelid_train.distributed.context import SharedContext

    shared_context = SharedContext(group.join(), context)
    if context is None:
        shared_context.listen()
    summary = train(recipe, shared_context)
    group.leave()
    return summary
