"""A job on several nodes: begun when all are there, ended on all of them at once, and fenced as one."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from camelid_core.commands import jobs as commands
from camelid_core.errors import JobError, StaleAttempt, UsageError
from camelid_core.events import read_events
from camelid_core.job_metrics import job_metrics
from camelid_core.jobs.deletion import delete
from camelid_core.jobs.foreground import run_in_foreground
from camelid_core.jobs.job import JobState
from camelid_core.jobs.process_identity import ProcessIdentity
from camelid_core.jobs.queue_order import FIRST, move
from camelid_core.jobs.rendezvous import NodeAddress, Rendezvous
from camelid_core.jobs.run_directories import EVENTS, LOG, attempt_directory, attempts
from camelid_core.jobs.search import JobFilter, count_jobs, find_jobs
from camelid_core.jobs.start_conditions import waits_for
from camelid_core.jobs.stop_signals import StopSignal
from typer.testing import CliRunner

HERE = {"host": "10.0.0.1", "port": 20_001, "network": "a"}
THERE = {"host": "10.0.0.2", "port": 20_002, "network": "b"}
TWO = {"launch": {"nodes": 2}}


def claim(store, worker, address=HERE):
    return store.claim(worker, 60, address=address)


@pytest.fixture
def pair(store):
    """A job on two nodes, as the workers of both hold it."""
    job = store.submit("tick", TWO)
    leader, member = claim(store, "w0"), claim(store, "w1", THERE)
    assert (leader.id, member.leader, member.rank) == (job.id, job.id, 1)
    return leader, member


def states(store, job):
    return [str(node.state) for node in store.nodes(job)]


# -- the table


def test_a_group_that_has_begun_comes_before_other_jobs_and_nobody_is_two_nodes(store):
    job = store.submit("tick", TWO)
    urgent = store.submit("tick", {}, priority=9)
    assert claim(store, "w0").id == urgent.id
    assert claim(store, "w1").id == job.id
    other = store.submit("tick", {}, priority=9)
    assert claim(store, "w1").id == other.id, "w1 is its node 0"
    assert claim(store, "w2").leader == job.id
    assert [each.id for each in store.list()] == [other.id, urgent.id, job.id], "members are told with their leader"


def test_who_cannot_be_reached_takes_no_node(store):
    store.submit("tick", TWO)
    assert store.claim("w0", 60) is None
    claim(store, "w1")
    assert store.claim("w0", 60) is None


def test_other_executors_and_single_nodes_are_no_group(store):
    for launch in ({"nodes": 2, "executor": "cluster"}, {"nodes": 1}, {}, None):
        store.submit("tick", {"launch": launch})
        job = claim(store, "w0")
        assert (job.nodes, job.in_group, len(store.nodes(job))) == (1, False, 1)


@pytest.mark.parametrize("how", ["cancel", "pause", "finish"])
def test_a_request_reaches_all_nodes(store, pair, how):
    store.request(pair[0].id, how)
    assert [node.request for node in store.nodes(pair[0])] == [how, how]
    assert store.heartbeat(pair[1]).request == how


def test_what_is_done_to_a_node_is_refused_with_the_number_of_the_job(store, pair):
    leader, member = pair
    for act in (
        lambda: store.request(member.id, "cancel"),
        lambda: store.retry(member.id),
        lambda: store.prioritise(member.id, 3),
        lambda: delete(store, member.id),
    ):
        with pytest.raises(JobError, match=f"Job {member.id} is node 1 of job {leader.id}; give that number"):
            act()


ENDS = {
    "failed": lambda store, job: store.finish(job, JobState.FAILED, error="Mine."),
    "cancelled": lambda store, job: store.finish(job, JobState.CANCELLED),
    "published": lambda store, job: store.publish(job, lambda: Path("x"), {}),
    "released": lambda store, job: store.release(job),
    "lost": lambda store, job: store.mark_lost(job),
}


@pytest.mark.parametrize("end", ENDS)
def test_whatever_ends_node_0_fences_the_others_at_that_moment(store, pair, end):
    leader, member = pair
    for job in pair:
        store.start(job)
    ENDS[end](store, leader)
    for act in (store.heartbeat, store.mark_lost, *ENDS.values()):
        with pytest.raises(StaleAttempt):
            act(member) if act in (store.heartbeat, store.mark_lost) else act(store, member)
    assert store.get(member.id).state == ("succeeded" if end == "published" else "cancelled")


def test_a_member_of_an_older_epoch_can_neither_write_nor_take_part(store, pair):
    leader, stale = pair
    store.release(leader)
    assert claim(store, "w2").epoch == 2
    member = claim(store, "w3", THERE)
    assert (member.id, member.rank, member.epoch) == (stale.id, 1, 2), "the same row: its epoch tells them apart"
    for act in (store.heartbeat, store.start, store.release, store.mark_lost):
        with pytest.raises(StaleAttempt):
            act(stale)
    assert states(store, leader) == ["claimed", "claimed"]


def test_a_members_error_is_the_jobs_and_the_first_one_in_the_table_counts(store, pair):
    leader, member = pair
    for job in pair:
        store.start(job)
    store.finish(member, JobState.FAILED, error="Row 3 is bad.", error_kind="data_error")
    job = store.get(leader.id)
    assert (job.state, job.error, job.error_kind) == (JobState.FAILED, "Node 1: Row 3 is bad.", "data_error")
    with pytest.raises(StaleAttempt):
        store.finish(leader, JobState.FAILED, error="A peer is gone.", error_kind="peer_lost")
    store.retry(leader.id)
    assert claim(store, "w0").epoch == 2


def test_a_full_disk_of_one_node_pauses_the_job_and_one_that_is_done_or_left_ends_nothing(store, pair):
    leader, member = pair
    store.finish(member, JobState.CANCELLED, error="It left.")
    assert store.heartbeat(leader).state == JobState.CLAIMED
    store.release(leader)
    leader, member = claim(store, "w0"), claim(store, "w1")
    for job in (leader, member):
        store.start(job)
    store.finish(member, JobState.PAUSED, error="Full.", error_kind="disk_full")
    assert (store.get(leader.id).state, store.get(leader.id).error) == (JobState.PAUSED, "Node 1: Full.")


@pytest.mark.parametrize("who", [0, 1])
def test_a_lease_that_runs_out_loses_the_whole_job_which_is_begun_again_as_a_whole(store, pair, run_out, who):
    leader, member = pair
    for job in pair:
        store.start(job)
    run_out(pair[who])
    assert [job.id for job in store.sweep_lost()] == [leader.id]
    job = store.get(leader.id)
    assert (job.state, job.retries) == (JobState.LOST, 1)
    assert job.error.startswith(f"The worker of its node {who} died; another takes it up")
    with pytest.raises(StaleAttempt):
        store.heartbeat(member)
    deadline = time.monotonic() + 60
    while store.get(leader.id).state != JobState.QUEUED:
        assert time.monotonic() < deadline
        store.sweep_lost()
    assert (claim(store, "w5").epoch, claim(store, "w6").epoch) == (2, 2)


def test_both_leases_out_at_once_are_one_loss(store, pair, run_out):
    for job in pair:
        run_out(job)
    assert len(store.sweep_lost()) == 1
    assert store.get(pair[0].id).retries == 1


def test_deleting_a_job_deletes_its_nodes(store, pair, home):
    leader, member = pair
    for job in pair:
        attempt_directory(home, job.id, 1).mkdir(parents=True)
    store.finish(leader, JobState.FAILED)
    delete(store, leader.id)
    assert store.nodes(leader) == ()
    assert not attempts(home, leader.id) + attempts(home, member.id)


def test_it_says_how_many_workers_it_waits_for(store):
    job = store.submit("tick", {"launch": {"nodes": 3}})
    assert waits_for(store, job) == "3 workers at the same time, for launch.nodes=3"
    leader = claim(store, "w0")
    assert waits_for(store, leader) == "2 more of its 3 workers"
    claim(store, "w1")
    claim(store, "w2")
    assert waits_for(store, leader) == ""


def test_members_count_nowhere_beside_their_job(store, home):
    (home / "jobs.toml").write_text("[limits]\nqueued = 2\n")
    job = store.submit("tick", {"launch": {"nodes": 3}})
    claim(store, "w0")
    waiting = store.submit("tick", {})
    with pytest.raises(JobError, match="2 jobs wait or run"):
        store.submit("tick", {})
    assert [found.id for found in find_jobs(store, JobFilter(), 10)] == [waiting.id, job.id]
    assert count_jobs(store, JobFilter(text=str(store.nodes(job)[1].id))) == 0
    assert 'camelid_jobs{state="queued"} 1' in job_metrics(store)
    assert "camelid_job_attempts 1" in job_metrics(store)
    assert move(store, waiting.id, FIRST).priority == 0, "there is nobody to be before"


def test_people_see_every_node_and_its_log(store, pair, home):
    leader, member = pair
    for job, text in ((leader, "from node 0"), (member, "from node 1")):
        attempt_directory(home, job.id, 1).mkdir(parents=True)
        (attempt_directory(home, job.id, 1) / LOG).write_text(text)
    for node in (0, 1):
        told = CliRunner().invoke(commands.app, ["logs", str(leader.id), "--node", str(node)])
        assert told.output == f"from node {node}"
    wrong = CliRunner().invoke(commands.app, ["logs", str(leader.id), "--node", "2"])
    assert str(wrong.exception) == f"--node is 2, and job {leader.id} has nodes 0 to 1."
    shown = CliRunner().invoke(commands.app, ["show", str(leader.id)]).output
    log = attempt_directory(home, member.id, 1) / LOG
    assert f"node 1 state claimed worker w1 log {log}" in shown
    (found,) = json.loads(CliRunner().invoke(commands.app, ["show", str(leader.id), "--json"]).output)["members"]
    assert (found["node"], found["state"], found["log"]) == (1, "claimed", str(log))


# -- where they meet


def test_on_one_machine_they_meet_on_its_loopback_and_elsewhere_where_node_0_is(store, pair):
    leader, member = pair
    apart = Rendezvous.of(member, [leader, member])
    assert (apart.host, apart.port, apart.rank, apart.group) == ("10.0.0.1", 20_001, 1, f"{leader.id}-1")
    store.release(leader)
    together = [claim(store, "w0"), claim(store, "w1", {**HERE, "port": 5})]
    variables = Rendezvous.of(together[1], together).variables()
    assert (variables["MASTER_ADDR"], variables["MASTER_PORT"]) == ("127.0.0.1", "20001")
    assert (variables["NODE_RANK"], variables["CAMELID_GROUP"]) == ("1", f"{leader.id}-2")


def test_a_person_may_say_where_a_machine_is_reached():
    found = NodeAddress.own({"CAMELID_ADDRESS": "192.0.2.7", "MASTER_PORT": "4711"})
    assert (found.host, found.port) == ("192.0.2.7", 4711)
    assert 20_000 <= NodeAddress.own({}).port < 30_000


def test_here_alone_it_is_refused_before_there_is_a_job(store, home, worker):
    with pytest.raises(UsageError, match=r"nodes is 2, so .* is one\. Queue it with .* or start it with torchrun"):
        run_in_foreground("tick", TWO)
    assert store.list() == []
    job = store.submit("tick", TWO)
    with pytest.raises(UsageError, match="here is one"):
        worker.run_job(job.id)
    assert store.get(job.id).state == JobState.QUEUED


# -- workers


def test_a_group_that_is_not_complete_is_given_back_without_a_retry_and_says_why(store, new_worker):
    store.submit("tick", TWO)
    job = new_worker(meet_seconds=0.3).run_once()
    assert (job.state, job.epoch, job.retries) == (JobState.QUEUED, 1, 0)
    assert job.error == "Within 0.3 s 1 of its 2 nodes had a worker; it tries again."
    assert claim(store, "w0") is None, "other jobs go first for a while"
    assert states(store, job) == ["queued", "cancelled"]


@pytest.mark.parametrize("stop", ["cancel", "worker"])
def test_who_waits_for_others_leaves_at_once_when_asked(store, new_worker, until, stop):
    job = store.submit("tick", TWO)
    signal = StopSignal()
    thread = threading.Thread(target=new_worker().run_once, args=(signal,))
    thread.start()
    until(lambda: store.get(job.id).state == JobState.CLAIMED)
    if stop == "cancel":
        store.request(job.id, "cancel")
    else:
        signal()
    thread.join()
    assert states(store, job) == ["cancelled" if stop == "cancel" else "queued", "cancelled"]


@pytest.mark.slow
def test_two_workers_count_together_and_node_0_publishes(store, home, together):
    job = store.submit("tick", {"seconds": 0.5, "count": 3, **TWO}, "mine")
    together(2)
    done = store.get(job.id)
    assert (done.state, done.published) == (JobState.SUCCEEDED, str(home / "artefacts" / "mine"))
    assert states(store, done) == ["succeeded", "succeeded"]
    member = store.nodes(done)[1]
    meetings = [event for node in (done, member) for event in read_events(attempts(home, node.id)[0] / EVENTS)[0][:1]]
    assert [event["NODE_RANK"] for event in meetings] == ["0", "1"]
    assert {(event["MASTER_ADDR"], event["MASTER_PORT"], event["CAMELID_GROUP"]) for event in meetings} == {
        ("127.0.0.1", str(done.address["port"]), f"{job.id}-1")
    }
    assert not (attempts(home, member.id)[0] / "state.json").exists(), "what node 0 keeps for all"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("then", "state", "kind", "told"),
    [
        ("kill", JobState.QUEUED, "killed_by_signal_9", "Node 1: Its process was ended by signal 9"),
        ("peer lost", JobState.FAILED, "data_error", "Row 3 is bad; mend it."),
    ],
)
def test_the_true_first_error_is_the_jobs_and_all_stop(store, home, together, then, state, kind, told):
    job = store.submit("tick", {"count": 1, "then": then, **TWO})
    together(2)
    done = store.get(job.id)
    assert (done.state, done.error_kind) == (state, kind)
    assert done.error.startswith(told)
    for node in store.nodes(done):
        for attempt in attempts(home, node.id):  # none where the other failed before this one had begun
            assert not ProcessIdentity.read(attempt).alive
