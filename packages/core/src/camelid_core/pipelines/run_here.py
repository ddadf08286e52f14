"""Running a pipeline in the foreground: step by step, each as a job, until all are done or one is not.

Steps that need a step which failed are left out; those that do not are run. Knows jobs. Knows nothing of terminals.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from camelid_core.errors import JobError
from camelid_core.jobs.foreground import run_queued_job
from camelid_core.jobs.job import ENDED, Job, JobState
from camelid_core.jobs.rendezvous import refuse_alone
from camelid_core.jobs.store import JobStore
from camelid_core.jobs.supervision import OnEvent

from .pipeline_config import Step, needed_by
from .step_jobs import StepJobs

_HOLD_SECONDS = 10.0
_POLL_SECONDS = 0.5
OnStep = Callable[[Step, Job], None]


def run_here(steps: Sequence[Step], jobs: StepJobs, on_step: OnStep, on_event: OnEvent) -> Iterator[tuple[Step, Job]]:
    """Each step that was run or was done before, with its job as it ended; `on_step` is called before each. Ends after
    one that a person stopped.

    Raises:
        UsageError: a step needs several machines at a time.
    """
    jobs.check(steps)
    for step in steps:
        refuse_alone(step.settings)
    missing: set[str] = set()
    for step in steps:
        if missing.intersection(needed_by(step)):
            missing.add(step.label)
            continue
        job = jobs.queue(step, _HOLD_SECONDS)
        on_step(step, job)
        if job.state == JobState.QUEUED:
            job = _run(jobs.store, job, on_event)
        while job.state not in ENDED:  # another worker has it
            time.sleep(_POLL_SECONDS)
            job = jobs.store.get(job.id)
        jobs.jobs[step.label] = job
        yield step, job
        if job.state in (JobState.CANCELLED, JobState.PAUSED):
            return
        if job.state != JobState.SUCCEEDED:
            missing.add(step.label)


def _run(store: JobStore, job: Job, on_event: OnEvent) -> Job:
    """The job as it ended here, or as it is where another worker took it in between: it is not held for long, and not
    at all when it was there before."""
    try:
        return run_queued_job(store, job.id, on_event)
    except JobError:
        found = store.get(job.id)
        if found.state == JobState.QUEUED:
            raise
        return found
