"""From the steps of a pipeline to jobs: each is queued once, however often the pipeline is run.

A step is known by its pipeline, its name, its task and its configuration. Where such a job succeeded and its result is
there, that is taken; where it ended otherwise, it is queued again and goes on from what it saved. So a pipeline that
was stopped or failed goes on by being run again, and a step that was changed is done anew with those that use it.
Knows jobs and tasks. Runs nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from camelid_core.config import Config, validate
from camelid_core.errors import JobError
from camelid_core.jobs.job import ENDED, Job, JobState
from camelid_core.jobs.job_needs import possible_needs
from camelid_core.jobs.store import JobStore
from camelid_core.paths import artefacts_dir, safe_name
from camelid_core.registry import Registry
from camelid_core.tasks import Task

from .pipeline_config import Step, needed_by, with_results

_MANY = 10_000
STEP_KEY_PREFIX = "pipeline:"
"""How the keys of steps' jobs begin."""
_STEP_KEY = re.compile(rf"{STEP_KEY_PREFIX}([^/:]+)/([^/:]+):")


@dataclass(slots=True)
class StepJobs:
    """The jobs of a pipeline's steps, in the order in which they are queued. With `anew` nothing done before is taken;
    `priority` and `earliest` are those of all its jobs."""

    pipeline: str
    store: JobStore
    tasks: Registry[Task]
    anew: bool = False
    priority: int = 0
    earliest: float = 0.0
    jobs: dict[str, Job] = field(default_factory=dict)
    _taken: set[str] | None = None
    """Where jobs that have not ended put their results, once it was needed."""

    def check(self, steps: Sequence[Step]) -> None:
        """Read the configuration of every step before the first is queued: a typing error in the last one is not to be
        found in the morning.

        Raises:
            UnknownName: there is no such task.
            ConfigError: a configuration does not fit.
            UsageError: pipeline and step make no name for a job.
        """
        for step in steps:
            safe_name(self._name(step), "name of pipeline and step")
            values = with_results(step.config, lambda name: str(artefacts_dir() / f"{self.pipeline}-{name}"))
            validate(self.tasks[step.task].load_config(), values, f"step {step.label!r}")

    def queue(self, step: Step, hold_seconds: float = 0.0) -> Job:
        """The job of a step: one that is there, or a new one, held for `hold_seconds`.

        Raises:
            UnknownName: there is no such task.
            ConfigError: its configuration does not fit.
        """
        task = self.tasks[step.task]
        values = with_results(step.config, self.result)
        config = _absolute(validate(task.load_config(), values, f"step {step.label!r}"))
        key = self._key(step, config)
        earlier = self._earlier(key)
        job = self._taken_up(earlier[-1]) if earlier else None
        if job is None:
            settings = config.model_dump(mode="json")
            name = self._place(step, task, settings)
            job = self.store.submit(
                step.task, settings, name, self.priority, _numbered(key, len(earlier) + 1), hold_seconds,
                [self.jobs[each].id for each in needed_by(step)], self.earliest,
                needs=possible_needs(self.store, step.task, settings),
            )  # fmt: skip
        self.jobs[step.label] = job
        return job

    def result(self, name: str) -> str:
        """Where the result of a step is, or will be.

        Raises:
            JobError: the step makes nothing that others can use.
        """
        job = self.jobs[name]
        place = job.published or _output(job.config, self.tasks[job.task])
        if not place:
            raise JobError(f"step {name!r} ({job.task}) makes no result that another step can use.")
        return place

    def _key(self, step: Step, config: Config) -> str:
        """What the step is known by. Configurations hold the places of the results they use: so another result makes
        another step."""
        parts = [self.pipeline, step.label, step.task, config.model_dump(mode="json")]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return f"{STEP_KEY_PREFIX}{self.pipeline}/{step.label}:{digest}"

    def _earlier(self, key: str) -> list[Job]:
        """All jobs of this step, the oldest first."""
        found = (self.store.with_key(_numbered(key, number)) for number in count(1))
        return list(takewhile(lambda job: job is not None, found))  # type: ignore[arg-type]

    def _taken_up(self, job: Job) -> Job | None:
        """The job, queued again if it ended without a result; None where it has to be done anew."""
        if job.state not in ENDED:
            return job
        if job.state != JobState.SUCCEEDED:
            return None if self.anew else self.store.retry(job.id)
        gone = bool(job.published) and not Path(job.published).exists()
        return None if self.anew or gone else job

    def _place(self, step: Step, task: Task, settings: dict[str, Any]) -> str:
        """The name of the job and of its result; the settings say from now on where the result goes, unless they say it
        already."""
        name = self._name(step)
        section, output = _output_field(task, settings)
        if output is None or section[output]:
            return name
        if self._taken is None:
            unfinished = self.store.list([state for state in JobState if state not in ENDED], _MANY)
            known = (job for job in unfinished if job.task in self.tasks)  # a task's plugin may be gone
            self._taken = {_output(job.config, self.tasks[job.task]) for job in known}
        names = (name if number == 1 else f"{name}-{number}" for number in count(1))
        places = (artefacts_dir() / each for each in names)
        place = next(path for path in places if not path.exists() and str(path) not in self._taken)
        self._taken.add(str(place))
        section[output] = str(place)
        return place.name

    def _name(self, step: Step) -> str:
        return f"{self.pipeline}-{step.label}"


def step_of(key: str | None) -> tuple[str, str] | None:
    """The pipeline (or sweep) and the step that a job with this key was queued for; None for any other job."""
    found = _STEP_KEY.match(key or "")
    return (found[1], found[2]) if found else None


def _numbered(key: str, number: int) -> str:
    return key if number == 1 else f"{key}:{number}"


def _output_field(task: Task, settings: Any) -> tuple[Any, str | None]:
    """The section of the settings that says where the result goes, and the name of its field; None where none does."""
    *sections, name = task.output.split(".")
    for section in sections:
        settings = settings.get(section) or {}
    return settings, name if name in settings else None


def _output(settings: Mapping[str, Any], task: Task) -> str:
    section, name = _output_field(task, settings)
    return str(section[name] or "") if name else ""


def _absolute(config: Any) -> Any:
    """With relative paths made absolute: a job runs in another directory."""
    return config.with_absolute_paths() if hasattr(config, "with_absolute_paths") else config
