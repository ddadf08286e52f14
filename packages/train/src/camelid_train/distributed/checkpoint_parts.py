"""Checkpoints of a distributed run: shards are gathered, the local main process of each machine writes, all read.

Knows which tensors must be full before they are written, and sharded again after. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import group, sharded_state


def save(write: Callable[..., object], model: Any, optimizer: Any, rng_state: Any) -> None:
    """Have the leading process call `write(model, optimizer, rng_states)` with everything whole; all call this."""
    if group.current_world().size == 1:
        write(model, optimizer, ())
        return
    sharded = sharded_state.is_sharded(model)
    full = (sharded_state.full_model(model), sharded_state.full_optimizer(optimizer)) if sharded else (model, optimizer)
    rng_states = group.gather_objects(rng_state)
    if group.current_world().is_local_main_process:
        write(*full, rng_states)


def load_model(read: Callable[[Any], object], model: Any) -> None:
    """Call `read` with an object whose `named_parameters` it sets, and load them into `model`."""
    full = sharded_state.full_model(model)
    read(full)
    sharded_state.load_parameters(model, full)


def load_optimizer(read: Callable[[Any], object], optimizer: Any, model: Any) -> None:
    read(optimizer)
    if sharded_state.is_sharded(model):
        sharded_state.shard_optimizer(optimizer)
