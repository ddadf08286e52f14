"""The publish task: plan, and carry it out with progress. Knows jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from camelid_core.tasks import TaskContext

from camelid_train.monitoring.stop_rules import raise_if_stop_requested

from .publication import plan
from .publication import publish as carry_out
from .publish_config import PublishConfig
from .target_choice import open_target


def publish(config: PublishConfig, context: TaskContext) -> Mapping[str, Any]:
    """Publish; what must be known is logged before anything leaves.

    Raises:
        Interrupted: a stop was requested; the branches that were written stay.
        JobError: the hub refused.
    """
    context.emit("resume", step=0)
    target = open_target(config.to, config.public)
    planned = plan(config, target)
    for line in (*planned.licence, *planned.warnings):
        context.emit("log", text=line)

    def progress(done: int, total: int, what: str) -> None:
        raise_if_stop_requested(context)
        context.emit("progress", done=done, total=total, unit="bytes", what=what)

    return carry_out(planned, target, progress)
