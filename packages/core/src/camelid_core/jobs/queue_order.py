"""The order in which waiting jobs are begun, and moving one of them in it.

The order is that of the priorities, and of equals the oldest first; a move gives the jobs before the moved one the
lowest priorities that keep them there. Knows priorities and numbers. Knows nothing of start times, needs or workers.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence

from camelid_core.errors import JobError

from .job import Job
from .store import JobStore

FIRST = -math.inf
"""Before all others: a number of places for `move`."""
LAST = math.inf

_WAITING = "SELECT id, priority FROM job WHERE leader = 0 AND state IN ('queued', 'lost') ORDER BY priority DESC, id"
_Waiting = tuple[int, int]
"""Number and priority of a waiting job."""


def move(store: JobStore, job_id: int, places: float) -> Job:
    """Move a waiting job by so many places; negative ones are earlier. It stops at either end.

    Raises:
        JobError: there is no such job, or it does not wait.
    """
    job = store.get(job_id)
    with store.database.write() as db:
        waiting = [(row["id"], row["priority"]) for row in db.execute(_WAITING)]
        at = next((index for index, (number, _) in enumerate(waiting) if number == job_id), None)
        if at is None:
            raise JobError(f"Job {job_id} is {job.state}; only a job that waits can be moved.")
        _write(db, priorities_after(waiting, at, places))
    return store.get(job_id)


def priorities_after(waiting: Sequence[_Waiting], at: int, places: float) -> dict[int, int]:
    """The priorities of the moved job, and of those whose priority has to change with it; `waiting` is in order."""
    order = list(waiting)
    number, priority = order.pop(at)
    to = int(min(max(at + places, 0), len(order)))
    if to > at:  # rather than to raise all that are before it now
        above, highest = order[to - 1]
        priority = min(priority, highest - (number < above))
    order.insert(to, (number, priority))
    return {number: priority, **dict(_lowest_priorities(order))}


def _lowest_priorities(order: Sequence[_Waiting]) -> Iterator[_Waiting]:
    """The jobs whose priority has to change so that this is their order. From the last on, each keeps its priority
    where that puts it before the next one."""
    below: _Waiting | None = None
    for number, priority in reversed(order):
        needed = priority if below is None else below[1] + (number > below[0])
        if priority < needed:
            yield number, needed
        below = number, max(priority, needed)


def _write(db: sqlite3.Connection, priorities: Mapping[int, int]) -> None:
    for number, priority in priorities.items():
        db.execute("UPDATE job SET priority = ? WHERE id = ? AND state IN ('queued', 'lost')", (priority, number))
