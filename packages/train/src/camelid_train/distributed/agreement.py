"""What the processes of a run must do as one: prepare data once, resume from one checkpoint, stop after one step.

Knows the Trainer's callbacks and the order of a run. All of it is nothing where there is one process.
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

_FAR = 1_000_003


@contextmanager
def local_main_process_first() -> Iterator[None]:
    """The first process on each machine goes in alone; the others follow and find what it left in caches."""
    is_local_main_process = group.joined().is_local_main_process
    if not is_local_main_process:
        group.wait_for_all()
    yield
    if is_local_main_process:
        group.wait_for_all()


def tell(recipe: Recipe, context: TaskContext) -> None:
    """State the global batch."""
    world, train = group.joined(), recipe.train
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
    """The checkpoint to go on from: `newest` of this machine or, where machines differ, the one with the fewest steps.

    None unless every machine has it.
    """
    world = group.joined()
    if world.size == 1:
        return _announced(newest(), context)
    leaders = group.gather_objects(newest() if world.is_local_main_process else None)[:: world.local_size]
    if not all(leaders):
        return None
    name = min(path.name for path in leaders)
    found = group.gather_objects(_called(name, leaders[world.node]) if world.is_local_main_process else None)[
        :: world.local_size
    ]
    return _announced(found[world.node], context) if all(found) else None


def _announced(resume: Path | None, context: TaskContext) -> Path | None:
    """`resume`, with a word about what cannot be as it was."""
    from camelid_train.saving.checkpoint import processes

    before, now = processes(resume) if resume else 0, group.joined().size
    if resume and before != now:
        text = (
            f"The checkpoint is of a run in {before} processes; now there are {now}, so from here on chance (dropout)"
        )
        context.emit("log", text=f"{text} and rounding differ from what they would have been.")
    return resume


def _called(name: str, newest: Path) -> Path | None:
    """The checkpoint of that name beside `newest` that is as it was written."""
    from camelid_train.saving.checkpoint import is_valid

    path = newest.with_name(name)
    return path if path == newest or is_valid(path) else None


def attach(trainer: Any, seed: int) -> None:
    """Have the trainer's steps end in agreement, and chance differ where rows do."""
    world = group.joined()
    if world.size > 1:
        assert SharedContext.current is not None, "who joined has a context to share"
        trainer.add_callback(StepAgreement(SharedContext.current, trainer))
        _shard_without_cards(trainer)
        _deepspeed_without_cards(trainer)
        learning = (name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad)
        if any("expert" in name for name in learning):  # a batch may leave some of them alone
            trainer.accelerator.ddp_handler.find_unused_parameters = True
    if world.rank:
        torch.manual_seed(seed + _FAR * world.rank)  # dropout: the rows differ, so must what is dropped


def _shard_without_cards(trainer: Any) -> None:
    """accelerate silently leaves FSDP out where there are no graphics cards, and torch does it all the same."""
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    state = trainer.accelerator.state
    if trainer.args.fsdp_plugin_args and state.distributed_type == DistributedType.MULTI_CPU:
        state.fsdp_plugin = FullyShardedDataParallelPlugin(**trainer.args.fsdp_plugin_args)
        state.distributed_type = DistributedType.FSDP
        trainer.is_fsdp_enabled = True


def _deepspeed_without_cards(trainer: Any) -> None:
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
    """Have all processes go on with as little memory as the one that had the least."""
    if group.joined().size > 1:
        _follow(trainer, group.rows(_memory(trainer.tally)))


def _memory(tally: Any) -> tuple[int, int]:
    """Rows at once, and whether activations are made again."""
    return tally.micro_batch or _FAR, int(tally.checkpointing)


def _follow(trainer: Any, found: Iterable[Sequence[int]]) -> None:
    """`found` is what `_memory` is in every process."""
    rows, again = zip(*found, strict=True)
    if max(again) and not trainer.tally.checkpointing:
        trainer.tally.checkpointing = True
        trainer.enable_gradient_checkpointing()
    if min(rows) < _memory(trainer.tally)[0]:
        trainer.set_micro_batch(min(rows), "Another process had no room for more.")


class StepAgreement(TrainerCallback):
    """After each step: does anyone want to stop, how many tokens was that in all, and who ran out of memory? Comes
    before who asks."""

    def __init__(self, context: SharedContext, trainer: Any) -> None:
        self.context = context
        self.trainer = trainer
        self._known = (0, 0)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        tally = self.trainer.tally
        self._known = (tally.total_tokens, tally.trained_tokens)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        tally = self.trainer.tally
        new = (tally.total_tokens - self._known[0], tally.trained_tokens - self._known[1])
        found = self.context.agree(*new, *_memory(tally))
        total, trained = (known + sum(row[at] for row in found) for at, known in enumerate(self._known))
        tally.total_tokens, tally.trained_tokens = self._known = (total, trained)
        _follow(self.trainer, (row[2:] for row in found))
