"""What this machine says of itself to a server. Knows hardware and which tasks are installed; imports no torch."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from camelid_core.models.devices import available_memory, cpu_cores, nvidia_gpus

from .machine import Accelerator, MachineDescription
from .protocol import own_version

_GPU_SECONDS = 10.0


def describe_this_machine(home: Path, tasks: Iterable[str]) -> Callable[[], dict[str, Any]]:
    """A function that says what this machine is like now. Its cards are asked every ten seconds at most: each time
    takes a process."""
    names = tuple(sorted(tasks))
    asked = float("-inf")
    cards: tuple[Accelerator, ...] = ()

    def describe() -> dict[str, Any]:
        nonlocal asked, cards
        if time.monotonic() - asked > _GPU_SECONDS:
            cards = tuple(Accelerator(*gpu) for gpu in nvidia_gpus())
            asked = time.monotonic()
        return asdict(_description(home, names, cards))

    return describe


def _description(home: Path, tasks: tuple[str, ...], cards: tuple[Accelerator, ...]) -> MachineDescription:
    cores = cpu_cores()
    return MachineDescription(
        host=socket.gethostname(),
        system=f"{platform.system()} {platform.machine()}",
        cores=cores,
        memory=psutil.virtual_memory().total,
        memory_free=available_memory(),
        disk_free=shutil.disk_usage(home).free,
        load=round(min(1.0, os.getloadavg()[0] / cores), 2),
        accelerators=cards,
        tasks=tasks,
        version=own_version(),
    )
