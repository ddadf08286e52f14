"""Who works: this machine with its workers, and machines that joined; their cards, load, and the jobs they run.

Knows the tables of workers, machines and jobs, and what this machine has. Knows nothing of how jobs get to a machine.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
from camelid_core.jobs import Job, JobStore
from camelid_core.jobs.job import ACTIVE
from camelid_core.jobs.presence import live_workers
from camelid_core.machines.machine import Machine, machine_of, machines
from camelid_core.models.devices import available_memory, cpu_cores, describe_device

_MANY = 1000


@dataclass(frozen=True, slots=True)
class MachineView:
    """A machine. `state` is here, online, away, new or revoked; `seen` a Unix time; `load` the share of its cores that
    is busy; memory in bytes; `workers` None where it is not known how many there are."""

    name: str
    state: str
    cards: str = ""
    cores: int = 0
    load: float = 0.0
    memory: int = 0
    memory_free: int = 0
    workers: int | None = None
    seen: float = 0.0
    jobs: tuple[Job, ...] = ()


class MachineService:
    """All machines, this one first."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        psutil.cpu_percent()  # each call measures since the one before

    def all(self) -> list[MachineView]:
        return list(self._all())

    def _all(self) -> Iterator[MachineView]:
        active = self._store.list(ACTIVE, _MANY)
        yield self._here(tuple(job for job in reversed(active) if not machine_of(job.owner)))
        held = {job.id: job for job in active}
        yield from (_joined(machine, held) for machine in machines(self._store))

    def _here(self, jobs: tuple[Job, ...]) -> MachineView:
        cores = cpu_cores()
        device = describe_device()
        return MachineView(
            name=socket.gethostname(),
            state="here",
            cards=device.description if device.kind != "cpu" else "",
            cores=cores,
            load=psutil.cpu_percent() / 100,
            memory=psutil.virtual_memory().total,
            memory_free=available_memory(),
            workers=len(live_workers(self._store)),
            jobs=jobs,
        )


def _joined(machine: Machine, held: dict[int, Job]) -> MachineView:
    said = machine.description
    cards = [f"{card.name}, {card.free >> 30} / {card.memory >> 30} GB" for card in said.accelerators]
    return MachineView(
        name=machine.name,
        state=machine.state,
        cards=" · ".join(cards),
        cores=said.cores,
        load=said.load,
        memory=said.memory,
        memory_free=said.memory_free,
        seen=machine.seen,
        jobs=tuple(held[number] for number in machine.jobs if number in held),
    )
