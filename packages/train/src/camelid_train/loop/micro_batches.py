"""Micro-batches: an optimizer step whose micro-batch is halved when memory runs out (OOM), at an equal global batch.

Knows the Trainer's step and which errors mean out of memory. Knows nothing of recipes, events or objectives.

The loss of a micro-batch is divided by the labels of the whole accumulated batch, so how a batch is split changes
neither the gradient (beyond rounding) nor the order of rows. What a failed attempt left in the gradients is
discarded, and the batches of the step are computed again.

With data parallelism (DDP) each process does so alone: gradients are averaged once all rows of a step went through in
every process (`distributed.gradient_average`), and after the step all take the smallest micro-batch of any of them
(`distributed.agreement`). With a sharded model (FSDP, DeepSpeed) every pass takes all processes, so none can shrink
alone.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from camelid_core.errors import TrainingError
from camelid_core.tokenization.encoder import IGNORE
from torch.nn.parallel import DistributedDataParallel

from camelid_train.distributed import gradient_average
from camelid_train.saving.run_totals import RunTotals

Measured = TypeVar("Measured")

if TYPE_CHECKING:
    from transformers import Trainer as Base
else:
    Base = object  # mixed in before a Trainer

_COUNTED = ("total_tokens", "trained_tokens")
MicroBatchListener = Callable[[int, int, str], None]
"""Called with the rows of a micro-batch from now on, the micro-batches of an optimizer step, and the reason."""


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or should_reduce_batch_size(error)


def error_message(error: BaseException) -> str:
    """The first sentence of the error, without the place in the library and what else is on the GPU."""
    line = str(error).strip().partition("\n")[0] or type(error).__name__
    return line.rpartition("DefaultCPUAllocator: ")[2].partition(". GPU ")[0].rstrip(". ") + "."


def _sharded_out_of_memory(args: Any, reason: str) -> str:
    """The message where the model is sharded over processes."""
    rows, steps = int(args.per_device_train_batch_size), int(args.gradient_accumulation_steps)
    change = (
        f"Set train.batch_size={rows // 2} train.accumulation={2 * steps}{'' if rows % 2 == 0 else ' or the like'} "
        "for the same global batch"
        if rows > 1
        else 'Set train.gradient_checkpointing="on" or lower data.cutoff'
    )
    return (
        f"memory ran out ({reason}) Processes that hold a model in shards go through it together, so none can take "
        f"fewer rows alone. {change}."
    )


def _is_ddp(model: Any) -> bool:
    """Whether this process has the whole model and averages gradients with others (DDP)."""
    return isinstance(model, DistributedDataParallel)


def halved_on_out_of_memory(measure: Callable[[int], Measured], rows: int) -> Measured:
    """`measure(rows)`, with the batch halved each time memory runs out."""
    while True:
        try:
            return measure(rows)
        except (RuntimeError, MemoryError) as error:
            if rows == 1 or not is_out_of_memory(error):
                raise
        rows //= 2  # only here is what was computed free
        gc.collect()
        clear_device_cache()


class MicroBatchMixin(Base):
    """Trainer mixin; batches are tensors with one entry per row. `totals` remembers the micro-batch that fitted, so
    that a resumed run continues in the same way."""

    totals: RunTotals
    pad_id: int
    current_gradient_accumulation_steps: int
    on_micro_batch_change: MicroBatchListener = staticmethod(lambda rows, parts, reason: None)
    may_checkpoint_activations: bool = True
    """Whether gradient checkpointing may be turned on when nothing else helps."""
    _step_batches: list[Any]

    @property
    def micro_batch(self) -> int:
        """Rows of one forward pass."""
        batch_size = int(self.args.per_device_train_batch_size)
        return batch_size if self.is_sharded_model else self.totals.micro_batch or batch_size

    @property
    def is_sharded_model(self) -> bool:
        """Whether every pass through the model takes all processes."""
        return bool(self.is_fsdp_enabled or self.is_deepspeed_enabled)

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any) -> Any:
        self.begin_step()
        return super().get_batch_samples(epoch_iterator, num_batches, device)

    def begin_step(self) -> None:
        """The batches from here on belong to one optimizer step."""
        self._step_batches = []
        self._before = {name: getattr(self.totals, name) for name in _COUNTED}

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        self._step_batches.append(inputs)
        todo = [inputs]
        while True:
            try:
                for batch in todo:
                    loss = self._step_in_micro_batches(model, batch, num_items_in_batch)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = error_message(error)
            # only here are the activations free: the error's traceback held them
            self.free_memory(model, reason)
            todo = self._step_batches
        if _is_ddp(model) and self.accelerator.sync_gradients:
            gradient_average.average_gradients(model.parameters())
        return loss

    def _step_in_micro_batches(self, model: Any, inputs: dict[str, Any], labels: Any) -> torch.Tensor:
        parts = self.parts(inputs, self.micro_batch)
        steps, losses = self.current_gradient_accumulation_steps, []
        self.current_gradient_accumulation_steps = steps * len(parts)
        try:
            with model.no_sync() if _is_ddp(model) else contextlib.nullcontext():
                for part in parts:
                    losses.append(super().training_step(model, part, labels))
        finally:
            self.current_gradient_accumulation_steps = steps
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def parts(self, inputs: dict[str, Any], rows: int) -> list[dict[str, Any]]:
        """`inputs` in micro-batches of at most `rows` rows, each no longer than its longest row."""
        count = len(inputs["labels"])
        if count <= rows:
            return [inputs]
        starts = range(0, count, rows)
        return [
            self._trimmed({name: tensor[start : start + rows] for name, tensor in inputs.items()}) for start in starts
        ]

    def _trimmed(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Without the columns at the end that are padding in every row."""
        used = ((inputs["labels"] != IGNORE) | (inputs["input_ids"] != self.pad_id)).any(0).nonzero()
        length = int(used[-1]) + 1 if len(used) else 1
        return {name: tensor[:, :length] for name, tensor in inputs.items()}

    def free_memory(self, model: Any, reason: str) -> None:
        """Use less memory from here on, and discard what this optimizer step has accumulated.

        Raises:
            TrainingError: there is nothing left to save memory with.
        """
        self.reduce_memory_use(reason)
        self.discard_step(model)
        gc.collect()
        clear_device_cache()

    def discard_step(self, model: Any) -> None:
        """Discard the gradients and the token counts since `begin_step`."""
        model.zero_grad()
        for name, value in self._before.items():
            setattr(self.totals, name, value)

    def reduce_memory_use(self, reason: str) -> None:
        """Halve the micro-batch; where it is one row, turn on gradient checkpointing."""
        if self.is_sharded_model:
            raise TrainingError(_sharded_out_of_memory(self.args, reason))
        rows = min(self.micro_batch, int(self.args.per_device_train_batch_size))
        if rows > 1:
            self.set_micro_batch(rows // 2, reason)
        elif self._can_checkpoint_activations():
            self.totals.checkpointing = True
            self.enable_gradient_checkpointing()
            self.on_micro_batch_change(
                1, self._micro_batches_per_step(1), f"{reason} Activations are recomputed in the backward pass."
            )
        else:
            raise TrainingError(
                f"memory ran out with a single row at a time ({reason}). Lower data.cutoff, let "
                "train.gradient_checkpointing be 'auto', choose a method that takes less (method.type=\"qlora\"), or "
                "a smaller model."
            )

    def set_micro_batch(self, rows: int, reason: str) -> None:
        self.totals.micro_batch = rows
        self.on_micro_batch_change(rows, self._micro_batches_per_step(rows), reason)

    def enable_gradient_checkpointing(self) -> None:
        self.model.activation_checkpointing_enable()

    def _can_checkpoint_activations(self) -> bool:
        """Not twice, and not where virtual tokens are in a KV cache that gradient checkpointing leaves out."""
        virtual = getattr(getattr(self.model, "active_peft_config", None), "is_prompt_learning", False)
        possible = self.may_checkpoint_activations and not virtual and self.model.supports_gradient_checkpointing
        return possible and not self.model.is_activation_checkpointing

    def _micro_batches_per_step(self, rows: int) -> int:
        return -(-int(self.args.per_device_train_batch_size) // rows) * int(self.args.gradient_accumulation_steps)
