"""Merging adapters into their base models: estimate of disk and memory, and starting the job.

Knows sizes and disks. Merges nothing itself.
"""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from camelid_core.errors import UsageError
from camelid_core.jobs import Job
from camelid_core.paths import artefacts_dir
from camelid_train.export.merge_config import MergeConfig
from camelid_train.export.merge_plan import merge_estimate

from camelid_ui.field_values import non_default

from .jobs import JobService, JobView
from .models import ModelEntry, ModelService

TASK = "merge"
_OPTIONS = {"output": "--out"}
"""Fields whose flag of `camelid merge` has another name."""


@dataclass(frozen=True, slots=True)
class MergeFit:
    """Bytes of the merged model, free on its disk, and needed in memory while merging."""

    size: int
    free: int
    memory: int
    base: str

    @property
    def fits(self) -> bool:
        return self.size * 2 < self.free


class MergeService:
    def __init__(self, models: ModelService, jobs: JobService) -> None:
        self.models = models
        self.jobs = jobs

    def adapters(self) -> list[ModelEntry]:
        return self.models.adapters()

    def estimate(self, config: MergeConfig) -> MergeFit:
        """Raises UnknownName, ModelError: no adapter of that name, or its base is not here."""
        for name in filter(None, (*(each.name for each in config.adapters), config.base_model)):
            self.models.resolve(name)  # where only listed models may be opened, this refuses any other
        found = merge_estimate(config)
        free = shutil.disk_usage(_existing(artefacts_dir())).free
        return MergeFit(found.size, free, found.memory, found.base)

    def start(self, config: MergeConfig, name: str = "", key: str | None = None) -> Job:
        """Raises UsageError: not enough disk."""
        estimate = self.estimate(config)
        if not estimate.fits:
            raise UsageError(
                f"the merged model needs {estimate.size * 2 >> 20:,} MB while it is written; "
                f"{estimate.free >> 20:,} MB are free. Free some space first."
            )
        return self.jobs.submit(TASK, config, name or config.default_name, key)

    def command(self, config: MergeConfig) -> str:
        changed = non_default(config)
        words = ["camelid", "merge", changed.pop("adapter", ""), *changed.pop("others", [])]
        for name, value in changed.items():
            words += [_OPTIONS.get(name, f"--{name.replace('_', '-')}"), str(value)]
        return shlex.join(words)

    def all(self) -> list[JobView]:
        return self.jobs.all(TASK, 20)


def load_line(path: str) -> str:
    """How to load a merged model without Camelid."""
    return f'AutoModelForCausalLM.from_pretrained("{path}")'


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
