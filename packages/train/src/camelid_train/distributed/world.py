"""Rank and world size of this process. Knows the environment variables that torchrun sets. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Environment variables that a launcher such as torchrun sets in every process."""


@dataclass(frozen=True, slots=True)
class World:
    """The rank of this process in a world of `size`; its machine has `local_size` of them, and it is `local_rank`
    there."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_local_main_process(self) -> bool:
        """Whether it emits events and writes files for all processes on its machine."""
        return self.local_rank == 0

    @property
    def node(self) -> int:
        return self.rank // self.local_size

    @property
    def nodes(self) -> int:
        return self.size // self.local_size


SINGLE_PROCESS = World()


def world_from_environment(environment: Mapping[str, str] = os.environ) -> World:
    """The world that a launcher set up for this process; a single process where there was none."""
    if not all(environment.get(name) for name in LAUNCHER_VARIABLES):
        return SINGLE_PROCESS
    return World(*(int(environment[name]) for name in LAUNCHER_VARIABLES[:4]))
