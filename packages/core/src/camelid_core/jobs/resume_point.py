"""From which step a job would resume, and how to say so.

Knows two events of its attempts: `resume` and `checkpoint`, each with a step. Knows nothing of what was saved; a task
that emits neither saves its work as it goes, or not at all.
"""

from __future__ import annotations

from pathlib import Path

from camelid_core.events import read_events

from .run_directories import EVENTS, attempts

_STEP_EVENTS = ("resume", "checkpoint")


def resume_step(home: Path, job_id: int) -> int | None:
    """The step from which another attempt would resume, 0 if from the beginning; None if the task does not say."""
    for directory in attempts(home, job_id):
        steps = [event["step"] for event in read_events(directory / EVENTS)[0] if event["kind"] in _STEP_EVENTS]
        if steps:
            return int(steps[-1])
    return None


def resume_hint(home: Path, job_id: int) -> str:
    """What a person can type to resume the job, and from which step that would be."""
    step = resume_step(home, job_id)
    if step is None:
        effect = "goes on from what it kept, if anything"
    elif step:
        effect = f"goes on from step {step:,}, where it was saved"
    else:
        effect = "begins anew: nothing was saved yet"
    return f"`camelid jobs retry {job_id}` {effect}."
