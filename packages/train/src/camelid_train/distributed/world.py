"""Which of several processes this one is.

Knows the variables that torchrun sets. Imports no torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher has set in every process it started."""


@dataclass(frozen=True, slots=True)
class World:
    """This process among `size`; `local_size` of them, of which it is number `local_rank`, are on its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_local_main_process(self) -> bool:
        """Whether it speaks and writes for all processes on its machine."""
        return self.local_rank == 0

    @property
    def node(self) -> int:
        return self.rank // self.local_size

    @property
    def nodes(self) -> int:
        return self.size // self.local_size


SINGLE_PROCESS = World()


def world_from_environment(environment: Mapping[str, str] = os.environ) -> World:
    """The world a launcher put this process in; one of its own where there was none."""
    if not all(environment.get(name) for name in LAUNCHER_VARIABLES):
        return SINGLE_PROCESS
    return World(*(int(environment[name]) for name in LAUNCHER_VARIABLES[:4]))
