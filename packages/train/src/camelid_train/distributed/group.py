"""The process group of a run: barrier, gather and all-reduce of small values between its ranks.

Knows torch.distributed. The values are small and never wait on a GPU: a gloo group of their own carries them, with a
timeout so long that nobody gives up on a first process that tokenises for a day.
All functions do nothing, or return what they were given, where there is one process.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from .world import SINGLE_PROCESS, World, world_from_environment

T = TypeVar("T")

_TIMEOUT = datetime.timedelta(days=14)


@functools.cache
def join() -> World:
    """Join the process group; all processes of a run call it, once they are started."""
    world = world_from_environment()
    if world.size > 1:
        import torch
        from accelerate import PartialState
        from camelid_core.models.loading import choose_device

        on_gpu = choose_device() == "cuda"
        if on_gpu:
            torch.cuda.set_device(world.local_rank)
        PartialState(cpu=not on_gpu)
        _control_group()
    return world


def current_world() -> World:
    """The world that this process joined, else that of a single process."""
    return join() if join.cache_info().currsize else SINGLE_PROCESS


def leave() -> None:
    """Destroy the process group; what is left of it would complain at the interpreter's end."""
    if current_world().size > 1:
        import torch.distributed

        torch.distributed.destroy_process_group()
    join.cache_clear()
    _control_group.cache_clear()


def barrier() -> None:
    if current_world().size > 1:
        import torch.distributed

        torch.distributed.barrier(group=_control_group())


def gather_objects(value: Any) -> list[Any]:
    """The value of each process, in order of rank."""
    world = current_world()
    if world.size == 1:
        return [value]
    import torch.distributed

    values: list[Any] = [None] * world.size
    torch.distributed.all_gather_object(values, value, group=_control_group())
    return values


def gather_ints(numbers: Sequence[int]) -> list[list[int]]:
    """The whole numbers of each process, in order of rank; faster than `gather_objects`, and as many in each."""
    world = current_world()
    if world.size == 1:
        return [list(numbers)]
    import torch
    import torch.distributed

    mine = torch.tensor(list(numbers), dtype=torch.int64)
    theirs = [torch.empty_like(mine) for _ in range(world.size)]
    torch.distributed.all_gather(theirs, mine, group=_control_group())
    return [each.tolist() for each in theirs]


def sum_over_processes(numbers: Sequence[float]) -> list[float]:
    """The sums over all processes, in double precision and the same to the bit in each."""
    world = current_world()
    if world.size == 1:
        return list(numbers)
    import torch
    import torch.distributed

    tensor = torch.tensor(list(numbers), dtype=torch.float64)
    torch.distributed.all_reduce(tensor, group=_control_group())
    return tensor.tolist()


def any_process(condition: bool) -> bool:
    """Whether the condition holds in at least one process."""
    return any(row[0] for row in gather_ints([int(condition)]))


def mean_over_processes(number: float) -> float:
    return sum_over_processes([number])[0] / current_world().size


def shard_with_padding(parts: Iterable[T]) -> Iterator[tuple[T, bool]]:
    """This rank's shard of `parts`, equally many for each rank: False marks those that are padding, taken twice."""
    world = current_world()
    if world.size == 1:
        yield from ((part, True) for part in parts)
        return
    known = list(parts)
    for start in range(0, len(known), world.size):
        index = start + world.rank
        yield known[min(index, len(known) - 1)], index < len(known)


@functools.cache
def _control_group() -> Any:
    import torch.distributed

    return torch.distributed.new_group(backend="gloo", timeout=_TIMEOUT)
