"""Talking among the processes of a run.

Knows torch.distributed. What is said here is small and never waits on a graphics card: a gloo group of its own
carries it, with so much patience that nobody gives up on a first process that tokenises for a day.
All functions do nothing, or return what they were given, where there is one process.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from .world import SINGLE_PROCESS, World, found

T = TypeVar("T")

_PATIENCE = datetime.timedelta(days=14)


@functools.cache
def join() -> World:
    """Meet the others; the processes of a run all call it, once they are started."""
    world = found()
    if world.size > 1:
        import torch
        from accelerate import PartialState
        from camelid_core.models.loading import choose_device

        on_cards = choose_device() == "cuda"
        if on_cards:
            torch.cuda.set_device(world.local_rank)
        PartialState(cpu=not on_cards)
        _talk()
    return world


def joined() -> World:
    """The world that was joined, else that of one process."""
    return join() if join.cache_info().currsize else SINGLE_PROCESS


def leave() -> None:
    """Part in order; what is left of the group would complain at the interpreter's end."""
    if joined().size > 1:
        import torch.distributed

        torch.distributed.destroy_process_group()
    join.cache_clear()
    _talk.cache_clear()


def wait_for_all() -> None:
    if joined().size > 1:
        import torch.distributed

        torch.distributed.barrier(group=_talk())


def gather_objects(value: Any) -> list[Any]:
    """What each process gave, in order of rank."""
    world = joined()
    if world.size == 1:
        return [value]
    import torch.distributed

    values: list[Any] = [None] * world.size
    torch.distributed.all_gather_object(values, value, group=_talk())
    return values


def rows(numbers: Sequence[int]) -> list[list[int]]:
    """What each process gave, in order of rank: as many whole numbers each, quickly."""
    world = joined()
    if world.size == 1:
        return [list(numbers)]
    import torch
    import torch.distributed

    mine = torch.tensor(list(numbers), dtype=torch.int64)
    theirs = [torch.empty_like(mine) for _ in range(world.size)]
    torch.distributed.all_gather(theirs, mine, group=_talk())
    return [each.tolist() for each in theirs]


def total(numbers: Sequence[float]) -> list[float]:
    """The sums over all processes, in double precision and the same to the bit in each."""
    world = joined()
    if world.size == 1:
        return list(numbers)
    import torch
    import torch.distributed

    tensor = torch.tensor(list(numbers), dtype=torch.float64)
    torch.distributed.all_reduce(tensor, group=_talk())
    return tensor.tolist()


def any_process(condition: bool) -> bool:
    return any(row[0] for row in rows([int(condition)]))


def mean(number: float) -> float:
    return total([number])[0] / joined().size


def shard_with_padding(parts: Iterable[T]) -> Iterator[tuple[T, bool]]:
    """This process's share of `parts`, as many for each process: the second says whether it is one, or fills up."""
    world = joined()
    if world.size == 1:
        yield from ((part, True) for part in parts)
        return
    known = list(parts)
    for start in range(0, len(known), world.size):
        index = start + world.rank
        yield known[min(index, len(known) - 1)], index < len(known)


@functools.cache
def _talk() -> Any:
    import torch.distributed

    return torch.distributed.new_group(backend="gloo", timeout=_PATIENCE)
