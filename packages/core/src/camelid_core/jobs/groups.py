"""Groups: a job on several nodes, and what happens to all of its nodes together.

A job whose recipe says `launch.nodes = N` is node 0; each further node is a member, a job of its own that a worker
claims, holds under a lease and runs like any other. Members are begun before other jobs, live only while their leader
is claimed or runs, and end with it in the same transaction. Knows columns and states. Knows nothing of processes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .job import Job, JobState
from .job_rows import INSERT, from_row, to_values

PEER_LOST = "peer_lost"
"""The kind of error of an attempt that only noticed that a peer was gone: the cause is another's."""

_EXECUTOR = "local"

CLAIMABLE = """(nodes = 1 OR (:address <> '{}' AND NOT (leader <> 0 AND EXISTS (
  SELECT 1 FROM job AS mate WHERE (mate.id = job.leader OR (mate.leader <> 0 AND mate.leader = job.leader))
  AND mate.owner = :worker AND mate.state IN ('claimed', 'running')))))"""
"""Who does not say where it is reached takes part in no group, and nobody is two nodes of one."""

_BEFORE_ALL = 1 << 40
"""Added to a member's priority: a group that has begun comes before what has not."""

_OF_LEADER = "leader <> 0 AND leader = :leader"
_REOPEN = f"""UPDATE job SET state = 'queued', request = '', priority = :priority, error = '', error_kind = '',
  summary = '{{}}', ended = NULL, started = NULL, address = '{{}}', epoch = :before WHERE {_OF_LEADER}"""  # noqa: S608 - a constant
_END = f"""UPDATE job SET state = CASE WHEN :succeeded AND state = 'running' THEN 'succeeded' ELSE 'cancelled' END,
  request = '', owner = '', lease = 0, error_kind = CASE WHEN :succeeded THEN '' ELSE 'cancelled' END,
  error = CASE WHEN :succeeded THEN '' ELSE 'Ended with job ' || leader || ', whose node ' || rank || ' it was.' END
  WHERE {_OF_LEADER} AND state IN ('queued', 'claimed', 'running')"""  # noqa: S608
_REQUEST = f"UPDATE job SET request = :request WHERE {_OF_LEADER} AND state IN ('claimed', 'running')"  # noqa: S608
_NODES = f"SELECT * FROM job WHERE id = :leader OR ({_OF_LEADER}) ORDER BY rank"  # noqa: S608


def node_count(config: Mapping[str, Any]) -> int:
    """On how many nodes the queue runs a job of this configuration; other executors than `local` see to nodes
    themselves."""
    launch = config.get("launch")
    if not isinstance(launch, Mapping) or (launch.get("executor") or _EXECUTOR) != _EXECUTOR:
        return 1
    nodes = launch.get("nodes")
    return max(1, nodes) if isinstance(nodes, int) else 1


def open_members(db: sqlite3.Connection, leader: Job, number: int, created: float) -> None:
    """Queue the members of a leader that was just claimed: those of earlier attempts again, or new ones with numbers
    from `number` on."""
    priority, before = leader.priority + _BEFORE_ALL, leader.epoch - 1  # claimed, they have the leader's epoch
    if db.execute(_REOPEN, {"leader": leader.id, "priority": priority, "before": before}).rowcount:
        return
    for rank in range(1, leader.nodes):
        member = Job(
            id=number + rank - 1, task=leader.task, config=leader.config, name=leader.name, boot=leader.boot,
            priority=priority, created=created, nodes=leader.nodes, leader=leader.id, rank=rank, epoch=before,
            needs=leader.needs, user=leader.user,
        )  # fmt: skip
        db.execute(INSERT, to_values(member)).fetchall()


def end_members(db: sqlite3.Connection, leader: Job, succeeded: bool) -> None:
    """End the members with their leader: their attempts hold nothing any more, and notice it by that."""
    db.execute(_END, {"leader": leader.id, "succeeded": succeeded})


def pass_on_request(db: sqlite3.Connection, leader: Job) -> None:
    """What a person requested of the leader holds for all nodes."""
    db.execute(_REQUEST, {"leader": leader.id, "request": leader.request})


def nodes_of(db: sqlite3.Connection, job: Job) -> tuple[Job, ...]:
    """The rows of all nodes of a job's group, by rank; that of the leader alone where it never was one."""
    return tuple(from_row(row) for row in db.execute(_NODES, {"leader": job.leader or job.id}).fetchall())


def delete_members(db: sqlite3.Connection, leader: Job) -> None:
    db.execute(f"DELETE FROM job WHERE {_OF_LEADER}", {"leader": leader.id})  # noqa: S608


def decides_for_all(member: Job, state: JobState) -> bool:
    """Whether a member that ends as `state` ends its whole group: what failed or found no space does, what left as
    asked or is done does not."""
    return bool(member.leader) and (state == JobState.FAILED or member.error_kind == "disk_full")


def as_node_end(node: Job, ended: Job) -> Job:
    """How an attempt at a node of a group ended, where `ended` says how a job alone did. Who left unasked left with all
    other nodes, one of which was asked to stop: the group is given back by its leader."""
    if ended.error_kind != "interrupted":
        return ended
    if node.leader:
        return replace(ended, state=JobState.CANCELLED, error="It left with the other nodes.", error_kind="cancelled")
    return replace(ended, state=JobState.QUEUED)
