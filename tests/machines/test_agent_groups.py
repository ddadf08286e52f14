"""A job on two machines with homes of their own: both meet, node 0's result is published, and none goes on alone."""

from __future__ import annotations

import pytest
from camelid_core.events import read_events
from camelid_core.jobs.job import JobState

pytestmark = pytest.mark.slow
ENDLESS = 100_000
TWO = {"launch": {"nodes": 2}}


def meetings(open_door, job):
    """What each node said of where it meets the others, as it reached the server."""
    found = [
        read_events(open_door.attempt(node, node.epoch) / "events.jsonl")[0] for node in open_door.store.nodes(job)
    ]
    return [events[0] for events in found if events]


def test_two_machines_begin_together_and_one_that_vanishes_takes_the_run_to_another(open_door, start_agent, until):
    store = open_door.store
    job = store.submit("tick", {"count": ENDLESS, "seconds": 0.02, **TWO}, "mine")
    agents = {name: start_agent(name) for name in ("a", "b")}
    until(lambda: len(meetings(open_door, job)) == 2, "the meeting")
    leader, member = store.nodes(job)
    assert {node.owner.split(":")[1] for node in (leader, member)} == {"a", "b"}
    assert [event["NODE_RANK"] for event in meetings(open_door, job)] == ["0", "1"]
    assert {event["CAMELID_GROUP"] for event in meetings(open_door, job)} == {f"{job.id}-1"}
    assert {event["MASTER_ADDR"] for event in meetings(open_door, job)} == {"127.0.0.1"}, "they are on one machine"
    until((open_door.attempt(leader) / "state.json").exists, "node 0's state")
    assert (open_door.attempt(member) / "log.txt").exists()
    assert not (open_door.attempt(member) / "state.json").exists(), "node 0 keeps for all"

    vanished, other = agents.pop(member.owner.split(":")[1]), agents.popitem()[1]
    stopped = other.child(leader)
    vanished.vanish(member)
    open_door.end_lease(member)
    store.sweep_lost()
    assert store.get(job.id).error.startswith("The worker of its node 1 died; another takes it up")
    until(lambda: not stopped.alive, "the end of the attempt at node 0")
    start_agent("c")
    until(lambda: store.get(job.id).epoch == 2 and len(meetings(open_door, job)) == 2, "the second meeting")
    assert {event["CAMELID_GROUP"] for event in meetings(open_door, job)} == {f"{job.id}-2"}
    store.request(job.id, "finish")
    until(lambda: store.get(job.id).state == JobState.SUCCEEDED, "the result")
    done = store.get(job.id)
    assert 0 < done.summary["first"] < done.summary["ticks"] < ENDLESS
    assert [path.name for path in (open_door.home / "artefacts").iterdir()] == ["mine"]


def test_a_request_while_one_machine_waits_for_another_frees_it(open_door, start_agent, until):
    job = open_door.store.submit("tick", {"count": 1, **TWO})
    start_agent("alone")
    until(lambda: open_door.store.get(job.id).address.get("ready"), "the first node")
    open_door.store.request(job.id, "cancel")
    until(lambda: open_door.store.get(job.id).state == JobState.CANCELLED, "the cancellation")
    other = open_door.store.submit("tick", {"count": 1})
    until(lambda: open_door.store.get(other.id).state == JobState.SUCCEEDED, "the next job")


def test_an_attempt_that_a_signal_ended_there_is_tried_again_and_counted_here(open_door, start_agent, until):
    job = open_door.store.submit("tick", {"count": 1, "then": "signal 9 once"})
    start_agent("box")
    until(lambda: open_door.store.get(job.id).state == JobState.SUCCEEDED, "the second attempt")
    assert (open_door.store.get(job.id).epoch, open_door.store.get(job.id).retries) == (2, 1)
