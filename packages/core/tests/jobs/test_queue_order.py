"""The order of waiting jobs: a move puts a job where it was asked to be, and changes no other one's place."""

from __future__ import annotations

import pytest
from camelid_core.errors import JobError
from camelid_core.jobs.queue_order import FIRST, LAST, move, priorities_after
from hypothesis import given
from hypothesis import strategies as st


def order(store):
    """As workers begin them."""
    jobs = [job for job in store.list(limit=100) if job.state in ("queued", "lost")]
    return [job.id for job in sorted(jobs, key=lambda job: (-job.priority, job.id))]


@given(
    st.lists(st.integers(-2, 2), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from([FIRST, -2, -1, 0, 1, 2, LAST])), min_size=1, max_size=4),
)
def test_a_moved_job_is_where_it_was_asked_to_be(priorities, moves):
    jobs = dict(enumerate(priorities, 1))
    for index, places in moves:
        waiting = sorted(jobs.items(), key=lambda job: (-job[1], job[0]))
        expected = [number for number, _ in waiting]
        number = expected.pop(index % len(jobs))
        expected.insert(int(min(max(index % len(jobs) + places, 0), len(expected))), number)
        jobs |= priorities_after(waiting, index % len(jobs), places)
        assert sorted(jobs, key=lambda number: (-jobs[number], number)) == expected


@pytest.fixture
def full(store):
    """Six waiting jobs, one that runs and one that has ended."""
    for _ in range(8):
        store.submit("tick", {})
    store.start(store.claim("w", 30, only=3))
    store.request(5, "cancel")
    return store


def test_only_jobs_that_wait_are_moved(full):
    move(full, 8, -2)
    assert order(full) == [1, 2, 4, 8, 6, 7]
    move(full, 1, LAST)
    assert order(full) == [2, 4, 8, 6, 7, 1]
    assert (full.get(3).priority, full.get(5).priority) == (0, 0)


def test_workers_take_them_in_that_order(store):
    for _ in range(3):
        store.submit("tick", {})
    move(store, 3, -1)
    move(store, 1, LAST)
    assert [store.claim("w", 30).id for _ in range(3)] == [3, 2, 1]


@pytest.mark.parametrize(("number", "words"), [(3, "Job 3 is running; only a job that waits"), (99, "no job 99")])
def test_what_does_not_wait_cannot_be_moved(full, number, words):
    with pytest.raises(JobError, match=words):
        move(full, number, 1)
