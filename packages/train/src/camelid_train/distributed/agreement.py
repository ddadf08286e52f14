"""What the processes of a run agree on: data prepared once, one checkpoint to resume from, one step to stop after, one
micro-batch size.

Knows the Trainer's callbacks and the order of a run. All of it does nothing where there is one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from camelid_core.tasks import TaskContext
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from . import group
from .context import SharedContext
from .world import World

if TYPE_CHECKING:
    from camelid_train.config import Recipe, TrainSection

_RANK_SEED_STRIDE = 1_000_003
_NO_LIMIT = 1_000_003


@contextmanager
def local_main_process_first() -> Iterator[None]:
    """The local main process goes first; the others wait, and find what it left in caches."""
    is_local_main_process = group.current_world().is_local_main_process
    if not is_local_main_process:
        group.barrier()
    yield
    if is_local_main_process:
        group.barrier()


def report_global_batch(recipe: Recipe, context: TaskContext) -> None:
    """Emit how many processes there are, and the global batch."""
    world, train = group.current_world(), recipe.train
    rows = train.batch_size * train.accumulation * world.size
    if world.size > 1 and recipe.launch.strategy == "deepspeed":
        context.emit("log", text="With DeepSpeed no checkpoints are written: a run that is interrupted begins anew.")
    context.emit("launch", processes=world.local_size, nodes=world.nodes, global_batch=rows)
    if rows != train.batch_size:
        context.emit("log", text=f"{global_batch(train, world).capitalize()}.")


def global_batch(train: TrainSection, world: World) -> str:
    """`global batch 16 = 4 × 2 × 2 processes`: rows of an optimizer step, and how they come about."""
    factors = [str(train.batch_size)]
    factors += [str(train.accumulation)] if train.accumulation > 1 else []
    factors += [f"{world.local_size} processes"] if world.local_size > 1 else []
    factors += [f"{world.nodes} machines"] if world.nodes > 1 else []
    return f"global batch {train.batch_size * train.accumulation * world.size:,} = {' × '.join(factors)}"


def agreed_checkpoint(newest: Callable[[], Path | None], context: TaskContext) -> Path | None:
    """The checkpoint to resume from: `newest` of this machine or, where machines differ, the one with the fewest steps.

    None unless every machine has it.
    """
    world = group.current_world()
    if world.size == 1:
        return _warn_if_world_changed(newest(), context)
    newest_per_machine = group.gather_objects(newest() if world.is_local_main_process else None)[:: world.local_size]
    if not all(newest_per_machine):
        return None
    name = min(path.name for path in newest_per_machine)
    mine = _checkpoint_named(name, newest_per_machine[world.node]) if world.is_local_main_process else None
    found = group.gather_objects(mine)[:: world.local_size]
    return _warn_if_world_changed(found[world.node], context) if all(found) else None


def _warn_if_world_changed(resume: Path | None, context: TaskContext) -> Path | None:
    """`resume`; a `log` event says what changes with another number of processes."""
    from camelid_train.saving.checkpoint import process_count

    before, now = process_count(resume) if resume else 0, group.current_world().size
    if resume and before != now:
        text = (
            f"The checkpoint is of a run in {before} processes; now there are {now}, so from here on chance (dropout)"
        )
        context.emit("log", text=f"{text} and rounding differ from what they would have been.")
    return resume


def _checkpoint_named(name: str, newest: Path) -> Path | None:
    """The valid checkpoint of that name beside `newest`."""
    from camelid_train.saving.checkpoint import is_valid

    path = newest.with_name(name)
    return path if path == newest or is_valid(path) else None


def attach(trainer: Any, seed: int, context: TaskContext) -> None:
    """Have the trainer's steps end in agreement, and dropout differ between ranks. `context` is the run's own."""
    world = group.current_world()
    if world.size > 1:
        assert isinstance(context, SharedContext), "who joined a group has a context to share"
        trainer.add_callback(StepAgreement(context, trainer))
        _enable_fsdp_on_cpu(trainer)
        _enable_deepspeed_on_cpu(trainer)
        trainable = (name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad)
        if any("expert" in name for name in trainable):  # a batch may leave some of them alone
            trainer.accelerator.ddp_handler.find_unused_parameters = True
    if world.rank:
        torch.manual_seed(seed + _RANK_SEED_STRIDE * world.rank)  # dropout: the rows differ, so must what is dropped


def _enable_fsdp_on_cpu(trainer: Any) -> None:
    """accelerate silently leaves FSDP out where there is no GPU, and torch does it all the same."""
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    state = trainer.accelerator.state
    if trainer.args.fsdp_plugin_args and state.distributed_type == DistributedType.MULTI_CPU:
        state.fsdp_plugin = FullyShardedDataParallelPlugin(**trainer.args.fsdp_plugin_args)
        state.distributed_type = DistributedType.FSDP
        trainer.is_fsdp_enabled = True


def _enable_deepspeed_on_cpu(trainer: Any) -> None:
    """accelerate leaves DeepSpeed out as well, which has a processor among its accelerators."""
    from accelerate.utils import DistributedType

    state, plugin = trainer.accelerator.state, trainer.args.deepspeed_plugin
    if plugin is not None and state.distributed_type == DistributedType.MULTI_CPU:
        plugin.set_mixed_precision(state.mixed_precision)
        plugin.select(_from_accelerator_state=True)
        state.deepspeed_plugins = plugin
        state.distributed_type = DistributedType.DEEPSPEED
        trainer.is_deepspeed_enabled = True


def sync_micro_batch(trainer: Any) -> None:
    """Give all processes the smallest micro-batch, and gradient checkpointing, that any of them had to take."""
    if group.current_world().size > 1:
        _apply_memory_settings(trainer, group.gather_ints(_memory_settings(trainer.totals)))


def _memory_settings(totals: Any) -> tuple[int, int]:
    """Rows of a micro-batch, and whether gradient checkpointing is on."""
    return totals.micro_batch or _NO_LIMIT, int(totals.checkpointing)


def _apply_memory_settings(trainer: Any, settings: Iterable[Sequence[int]]) -> None:
    """`settings` are the `_memory_settings` of every process."""
    rows, checkpointing = zip(*settings, strict=True)
    if max(checkpointing) and not trainer.totals.checkpointing:
        trainer.totals.checkpointing = True
        trainer.enable_gradient_checkpointing()
    if min(rows) < _memory_settings(trainer.totals)[0]:
        trainer.set_micro_batch(min(rows), "Another process had no room for more.")


class StepAgreement(TrainerCallback):
    """After each step all processes agree whether to stop, on the tokens seen in all, and on the micro-batch. Comes
    before the callbacks that ask whether to stop."""

    def __init__(self, context: SharedContext, trainer: Any) -> None:
        self.context = context
        self.trainer = trainer
        self._known = (0, 0)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        totals = self.trainer.totals
        self._known = (totals.total_tokens, totals.trained_tokens)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        totals = self.trainer.totals
        new = (totals.total_tokens - self._known[0], totals.trained_tokens - self._known[1])
        found = self.context.agree(*new, *_memory_settings(totals))
        total, trained = (known + sum(row[at] for row in found) for at, known in enumerate(self._known))
        totals.total_tokens, totals.trained_tokens = self._known = (total, trained)
        _apply_memory_settings(self.trainer, (row[2:] for row in found))
