"""Checkpoints of a run in several processes: every one gives its part, one per machine writes, all read.

Knows what must be whole before it is written, and cut again after it was read. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import group, sharded_state


def save(write: Callable[..., object], model: Any, optimizer: Any, rng_state: Any) -> None:
    """Have the leading process call `write(model, optimizer, chances)` with everything whole; all call this."""
    if group.current_world().size == 1:
        write(model, optimizer, ())
        return
    cut = sharded_state.is_sharded(model)
    whole = (sharded_state.full_model(model), sharded_state.full_optimizer(optimizer)) if cut else (model, optimizer)
    rng_states = group.gather_objects(rng_state)
    if group.current_world().is_local_main_process:
        write(*whole, rng_states)


def load_model(read: Callable[[Any], object], model: Any) -> None:
    """Call `read` with something whose `named_parameters` can be set, and take them over."""
    whole = sharded_state.full_model(model)
    read(whole)
    sharded_state.load_parameters(model, whole)


def load_optimizer(read: Callable[[Any], object], optimizer: Any, model: Any) -> None:
    read(optimizer)
    if sharded_state.is_sharded(model):
        sharded_state.shard_optimizer(optimizer)
