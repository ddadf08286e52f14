"""The rendezvous of a group: where its nodes meet, and how each waits for the others.

Knows addresses, ports, rows and the environment variables of torch's launcher. Knows nothing of what the nodes do.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

from camelid_core.errors import StaleAttempt, UsageError

from .clock import boot_id
from .groups import node_count
from .job import ACTIVE, Job
from .lease import JobLease
from .stop_signals import StopSignal

ADDRESS_VARIABLE = "CAMELID_ADDRESS"
"""Where other machines reach this one, where the system's own answer is wrong."""

GROUP_VARIABLE = "CAMELID_GROUP"
"""Job and epoch of a group: processes of another epoch do not meet those of this one."""

_LOOPBACK = "127.0.0.1"
_ELSEWHERE = ("192.0.2.1", 9)  # of the range for documentation: asked for a route, nothing is sent
_PORTS = range(20_000, 30_000)  # below those that systems give to outgoing connections
_TRIES = 50
_POLL_SECONDS = 0.25
_AGAIN_SECONDS = 30.0
MEET_SECONDS = 60.0
"""How long a leader waits for workers before it gives the job back."""
_CAUSE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """Where a worker's machine is reached: its address, a free port, and the network that it is in. `ready` once
    it has all that the job reads."""

    host: str
    port: int
    network: str
    ready: bool = False

    @classmethod
    def own(cls, environment: Mapping[str, str] = os.environ) -> NodeAddress:
        """That of this process; `CAMELID_ADDRESS` and `MASTER_PORT` outrank what the system says."""
        port = environment.get("MASTER_PORT", "")
        return cls(
            environment.get(ADDRESS_VARIABLE) or _own_address(),
            int(port) if port.isdecimal() else _free_port(),
            _network(),
        )

    def as_values(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """What a node has to know of its group: where node 0 is, which node it is itself, and of how many."""

    host: str
    port: int
    rank: int
    nodes: int
    group: str
    own_host: str

    @classmethod
    def of(cls, job: Job, nodes: Sequence[Job]) -> Rendezvous:
        """`nodes` are all of its group. On one machine they meet on its loopback."""
        leader = nodes[0]
        together = len({each.address["network"] for each in nodes}) == 1
        host, own = (_LOOPBACK, _LOOPBACK) if together else (leader.address["host"], job.address["host"])
        return cls(host, int(leader.address["port"]), job.rank, job.nodes, f"{leader.id}-{leader.epoch}", own)

    def variables(self) -> dict[str, str]:
        """The environment variables of this node's attempt. Gloo and NCCL would otherwise take the interface that the
        machine's name leads to, which on many is its loopback."""
        interface = _interface(self.own_host)
        names = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
        return {
            "MASTER_ADDR": self.host,
            "MASTER_PORT": str(self.port),
            "NODE_RANK": str(self.rank),
            GROUP_VARIABLE: self.group,
            **{name: interface for name in names if interface and name not in os.environ},
        }


def refuse_alone(config: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> None:
    """Refuse to run a job on several nodes here, unless the environment says where they meet.

    Raises:
        UsageError: it does not.
    """
    nodes = node_count(config)
    if nodes > 1 and not environment.get("MASTER_ADDR"):
        raise UsageError(
            f"launch.nodes is {nodes}, so this run needs {nodes} machines at a time, and here is one. Queue it with "
            "`camelid train … --detach`, and start `camelid worker` on each. Or set MASTER_ADDR to the first machine's "
            "address and NODE_RANK to 0, 1, … and type the same command on each, or start it with torchrun."
        )


@dataclass(frozen=True, slots=True)
class RollCall:
    """How many nodes of a group have no worker, and where all meet once all are ready."""

    missing: int
    rendezvous: Rendezvous | None = None

    @classmethod
    def of(cls, job: Job, nodes: Sequence[Job]) -> RollCall:
        missing = sum(node.state not in ACTIVE for node in nodes)
        ready = not missing and all(node.address.get("ready") for node in nodes)
        return cls(missing, Rendezvous.of(job, nodes) if ready else None)


class RollCallStore(Protocol):
    """A job table, of this machine or of another."""

    def roll_call(self, job: Job, /) -> RollCall: ...

    def release(self, job: Job, wait_seconds: float, why: str, /) -> Job: ...


def meet(store: RollCallStore, lease: JobLease, stop: StopSignal, seconds: float) -> Rendezvous | None:
    """Wait until every node of the job's group is ready; None if a stop was requested meanwhile.

    The leader gives the job back if a node has no worker after so many `seconds`.

    Raises:
        StaleAttempt: the job was given back, or another attempt holds it.
    """
    job = lease.job
    until = time.monotonic() + seconds
    while not stop and not lease.job.request:
        if lease.lost:
            raise StaleAttempt(f"Job {job.id} was taken over.")
        call = store.roll_call(job)
        if call.rendezvous is not None:
            return call.rendezvous
        if call.missing and not job.leader and time.monotonic() > until:
            there = f"{job.nodes - call.missing} of its {job.nodes} nodes had a worker"
            why = f"Within {seconds:g} s {there}; it tries again."
            store.release(job, _AGAIN_SECONDS, why)
            raise StaleAttempt(f"Job {job.id} was given back. {why}")
        time.sleep(_POLL_SECONDS)
    return None


def await_cause(lease: JobLease) -> None:
    """Where an attempt only lost a peer: wait until the node that failed, or the lease of one that vanished, ends the
    group with the true cause. Nothing else is known if that does not happen.

    Raises:
        StaleAttempt: it has happened.
    """
    until = time.monotonic() + lease.job.lease_seconds + _CAUSE_SECONDS
    while not lease.job.request and time.monotonic() < until:
        if lease.lost:
            raise StaleAttempt(f"Job {lease.job.id} ended meanwhile.")
        time.sleep(_POLL_SECONDS)


def _own_address() -> str:
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(_ELSEWHERE)
        return str(probe.getsockname()[0])
    return _LOOPBACK


def _free_port() -> int:
    for port in random.sample(_PORTS, _TRIES):
        with suppress(OSError), socket.socket() as trial:
            trial.bind(("", port))
            return port
    return _PORTS[0]


def _network() -> str:
    """The same for processes that reach each other on the loopback: one machine, and one network namespace on it."""
    with suppress(OSError):
        return f"{boot_id()} {Path('/proc/self/ns/net').readlink()}"
    return boot_id()


def _interface(host: str) -> str:
    """The network interface that has this address; empty if none has."""
    return next((name for name, found in psutil.net_if_addrs().items() if host in {each.address for each in found}), "")
