"""Jobs that belong together: the steps of a pipeline, and the runs of a sweep with what was measured of each.

Knows the names that steps' jobs were queued under, needs, and losses. Knows no files of pipelines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from camelid_core.jobs import Job
from camelid_core.jobs.search import KeyedJob, jobs_of, keyed_jobs
from camelid_core.pipelines.step_jobs import STEP_KEY_PREFIX, step_of

from .jobs import RUNNING, JobService, JobView
from .training.run_comparison import differences

_NEWEST_JOBS = 1000
_NAMES = ("output", "publish_to")
"""Settings that differ between the runs of a sweep without being swept."""


@dataclass(frozen=True, slots=True)
class GroupStep:
    """A step and the newest job queued for it; it needs the steps `needs`, and is that many steps from the first."""

    name: str
    view: JobView
    needs: tuple[str, ...] = ()
    depth: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def loss(self) -> float | None:
        """The held-out loss of a run that has one, else its last training loss."""
        summary = self.view.job.summary
        found = summary.get("eval_loss", summary.get("final_loss"))
        return float(found) if isinstance(found, int | float) else None


@dataclass(frozen=True, slots=True)
class JobGroup:
    """A pipeline, or a sweep: several runs of one task of which none needs another."""

    name: str
    steps: tuple[GroupStep, ...]

    @property
    def is_sweep(self) -> bool:
        return len(self.steps) > 1 and not any(step.needs for step in self.steps) and len(self._tasks) == 1

    @property
    def running(self) -> bool:
        return any(step.view.running for step in self.steps)

    @property
    def best(self) -> float | None:
        return min((step.loss for step in self.steps if step.loss is not None), default=None)

    @property
    def _tasks(self) -> set[str]:
        return {step.view.job.task for step in self.steps}


class GroupService:
    """Finds groups among the newest jobs."""

    def __init__(self, jobs: JobService) -> None:
        self._jobs = jobs

    def all(self, most: int = 8) -> list[JobGroup]:
        """Those with jobs that have not ended first, else the newest first."""
        found: dict[str, list[tuple[str, KeyedJob]]] = {}
        for job in keyed_jobs(self._jobs.store, STEP_KEY_PREFIX, _NEWEST_JOBS):
            if (step := step_of(job.key)) is not None:
                found.setdefault(step[0], []).append((step[1], job))
        chosen = sorted(found, key=lambda name: not any(job.state in RUNNING for _, job in found[name]))[:most]
        return [self._group(name, found[name]) for name in chosen]

    def _group(self, name: str, found: Sequence[tuple[str, KeyedJob]]) -> JobGroup:
        """From the jobs of all runs of a pipeline, the newest first: of each step the newest job."""
        names = {job.id: step for step, job in found}
        numbers = {step: job.id for step, job in reversed(found)}
        jobs = jobs_of(self._jobs.store, numbers.values())
        newest = {names[job.id]: job for job in jobs}
        views = {view.job.id: view for view in self._jobs.views(jobs)}
        needs = {step: _needs(job, names, step) for step, job in newest.items()}
        depths = _depths(needs)
        swept = _swept([job for _, job in sorted(newest.items())])
        steps = (
            GroupStep(step, views[job.id], needs[step], depths[step], _values(swept, index))
            for index, (step, job) in enumerate(sorted(newest.items()))
        )
        return JobGroup(name, tuple(sorted(steps, key=lambda step: (step.depth, step.view.job.id))))


def _needs(job: Job, names: Mapping[int, str], step: str) -> tuple[str, ...]:
    found = dict.fromkeys(names[number] for number in job.depends_on if number in names)
    return tuple(each for each in found if each != step)


def _depths(needs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How many steps come before each, at most; a ring, as a file that was changed can leave, ends where it closes."""
    found: dict[str, int] = {}

    def depth(step: str) -> int:
        if step not in found:
            found[step] = 0
            found[step] = max((1 + depth(each) for each in needs.get(step, ())), default=0)
        return found[step]

    return {step: depth(step) for step in needs}


def _swept(jobs: Sequence[Job]) -> dict[str, tuple[Any, ...]]:
    if len({job.task for job in jobs}) > 1:
        return {}
    found = differences([job.config for job in jobs])
    return {path: values for path, values in found.items() if path.rpartition(".")[2] not in _NAMES}


def _values(swept: Mapping[str, Sequence[Any]], index: int) -> dict[str, Any]:
    return {path: values[index] for path, values in swept.items()}
