"""A job, its states, and the transitions between them: the state machine of the queue.

Knows the rules. Knows nothing of the database, of processes or of clocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from .resources import Assignment, Needs

JobRequest = Literal["", "finish", "pause", "cancel"]
"""What a person requested of a running job: nothing; finish early and keep the result; save and pause; save and stop.
Each outranks those before it."""


class JobState(StrEnum):
    QUEUED = "queued"
    CLAIMED = "claimed"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSED = "paused"
    LOST = "lost"


TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.CLAIMED, JobState.CANCELLED, JobState.PAUSED}),
    JobState.CLAIMED: frozenset(
        {JobState.RUNNING, JobState.FAILED, JobState.CANCELLED, JobState.PAUSED, JobState.LOST}
    ),
    JobState.RUNNING: frozenset(
        {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.PAUSED, JobState.LOST}
    ),
    JobState.LOST: frozenset({JobState.QUEUED, JobState.FAILED, JobState.CANCELLED, JobState.PAUSED}),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
    JobState.PAUSED: frozenset({JobState.QUEUED}),
    JobState.SUCCEEDED: frozenset(),
}
"""Every transition there is. `lost` waits for its next attempt and becomes `queued` again by itself;
`failed`, `cancelled` and `paused` do so only when a person retries them."""

ACTIVE = frozenset({JobState.CLAIMED, JobState.RUNNING})
"""States in which an attempt holds the job under a lease."""

ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.PAUSED})
"""States in which nothing happens any more unless a person retries the job."""


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the table.

    `epoch` counts attempts and is the fencing token: an attempt with an older one can change nothing.
    `key` is an idempotency key. `lease` and `not_before` are seconds of the clock that runs since boot
    `boot`; `created`, `started` and `ended` are Unix times, for display only. It is not begun before the Unix time
    `earliest`, nor before the jobs `depends_on` have succeeded. `user` is who submitted it. `needs` None: not known, so
    it runs with nothing beside; `assigned` is what its newest attempt was given.
    A job on several `nodes` is a group: it is node 0 itself, and each further node is a member, a job whose `leader` it
    is and whose `rank` is the node's number. `address` says where the machine of this attempt is reached by the others.
    """

    id: int
    task: str
    config: Mapping[str, Any]
    name: str = ""
    key: str | None = None
    priority: int = 0
    depends_on: tuple[int, ...] = ()
    earliest: float = 0.0
    user: str = ""
    needs: Needs | None = None
    assigned: Assignment | None = None
    state: JobState = JobState.QUEUED
    epoch: int = 0
    request: JobRequest = ""
    owner: str = ""
    process: str = ""
    boot: str = ""
    lease: float = 0.0
    lease_seconds: float = 0.0
    not_before: float = 0.0
    retries: int = 0
    error: str = ""
    error_kind: str = ""
    summary: Mapping[str, Any] = field(default_factory=dict)
    published: str = ""
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    nodes: int = 1
    leader: int = 0
    rank: int = 0
    address: Mapping[str, Any] = field(default_factory=dict)

    @property
    def in_group(self) -> bool:
        """Whether this attempt is one of several that run at the same time; one that was begun alone, is none."""
        return self.nodes > 1 and bool(self.address)

    @property
    def label(self) -> str:
        """The name, or task and number where no name was given."""
        return self.name or f"{self.task}-{self.leader or self.id}"

    @property
    def title(self) -> str:
        """`Job 3 (mine)`, or which node of it this is, to begin a sentence with."""
        node = f"Node {self.rank} of job {self.leader}" if self.leader else f"Job {self.id}"
        return f"{node} ({self.label})"
