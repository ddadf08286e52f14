"""The resources of this machine: cores and memory within the container's limits, and NVIDIA cards.

Knows /proc, control groups and nvidia-smi. Imports no torch. Knows nothing of jobs.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

from camelid_core.models.devices import cgroup_files, cpu_cores, memory_limit, nvidia_smi

from .clock import boot_id
from .resources import Gpu, Resources

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable by which a process is given cards: their ids, separated by commas."""


def this_machine(environment: Mapping[str, str] = os.environ) -> Resources:
    """What jobs on this machine may use. Asks the driver, which takes up to a second or so: call it once a process."""
    return Resources(boot_id(), socket.gethostname(), _cores(), memory_limit(), _cards(environment.get(VISIBLE)))


def _cores() -> int:
    """Whole cores: those of the affinity mask, or fewer where a control group limits the time on them."""
    limits = [cpu_cores()]
    for path in cgroup_files("cpu.max", "cpu.cfs_quota_us", controller="cpu"):
        with suppress(OSError, ValueError, IndexError):
            quota, *period = path.read_text(encoding="ascii").split()
            per = int(period[0]) if period else int(path.with_name("cpu.cfs_period_us").read_text(encoding="ascii"))
            if int(quota) > 0:
                limits.append(max(1, round(int(quota) / per)))
    return min(limits)


def _cards(visible: str | None) -> tuple[Gpu, ...]:
    """All cards, or those that this process was given, in that order; named by UUIDs, which mean the same card in
    whatever order CUDA counts them."""
    cards: list[Gpu] = []
    by_word: dict[str, Gpu] = {}
    for index, uuid, name, memory in nvidia_smi("index", "uuid", "name", "memory.total"):
        size = int(memory) << 20 if memory.isdecimal() else 0  # cards that share the machine's memory say [N/A]
        card = Gpu(uuid, name.removeprefix("NVIDIA "), size)
        cards.append(card)
        by_word |= {index: card, uuid: card}
    if visible is None:
        return tuple(cards)
    words = [word.strip() for word in visible.split(",")]
    return tuple(by_word[word] for word in words if word in by_word)
