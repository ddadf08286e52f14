"""What a running job said that it takes, once it has measured it: the rest of what it was given goes to others.

Knows needs, assignments and the event that says so. What was given only ever shrinks, so nothing that was admitted
beside it is in the way; the needs are what was measured, for the next attempt.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from camelid_core.errors import JobError

from .job import Job
from .resources import Assignment, Needs
from .store import JobStore

MEMORY = "memory"
"""The kind of the event: `device` (cuda or cpu) and `bytes` of the machine, or of each card."""


def note_memory(store: JobStore, job: Job, event: Mapping[str, Any]) -> None:
    """Record what a running job measured. What a person said it needs, stays."""
    size, on_card = event.get("bytes"), event.get("device") == "cuda"
    if not isinstance(size, int) or not 0 < size < 1 << 60:
        return
    with suppress(JobError):  # a like run measures again
        needs = store.get(job.id).needs
        if needs is not None and needs.source != "given":
            store.measured(job, _measured(needs, size, on_card), lambda given: _shrunk_to(given, size, on_card))


def _measured(needs: Needs, size: int, on_card: bool) -> Needs:
    if on_card:
        return replace(needs, gpu_memory=size, source="measured")
    if needs.without_gpus is not None:
        return replace(needs, without_gpus=replace(needs.without_gpus, memory=size, source="measured"))
    return replace(needs, memory=size, source="measured")


def _shrunk_to(given: Assignment, size: int, on_card: bool) -> Assignment:
    """A card that was given whole stays whole: another job may not fit beside."""
    if on_card:
        return replace(given, gpu_memory=min(given.gpu_memory, size))
    return replace(given, memory=min(given.memory, size))
