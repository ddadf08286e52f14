"""Formats that a task of its own writes, and that `camelid export --to` reaches as it does those of exporters.

Why they are no exporters: docs/decisions/0013-merge-and-diff-are-tasks.md. Knows their configurations.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from camelid_core.config import Config

from .config import DiffConfig
from .exporter import ExportEstimate
from .merge_config import MergeConfig


@dataclass(frozen=True, slots=True)
class TaskFormat:
    """`source` is the field of the task's configuration that holds what is exported; `estimator` is `module:function`,
    which takes the configuration."""

    task: str
    config: type[Config]
    source: str
    help: str
    estimator: str

    def estimate(self, config: Any) -> ExportEstimate:
        found: ExportEstimate = pkgutil.resolve_name(self.estimator)(config)
        return found


TASK_FORMATS: Mapping[str, TaskFormat] = {
    "merged": TaskFormat(
        "merge", MergeConfig, "adapter", "Base and adapters as one model: `camelid merge`.",
        "camelid_train.export.merge_plan:merge_estimate",
    ),
    "diff": TaskFormat(
        "diff", DiffConfig, "tuned", "What a model changed of its base, without its weights: `camelid diff make`.",
        "camelid_train.export.weight_diff:diff_estimate",
    ),
}  # fmt: skip
