"""What Camelid replaces in every trl trainer: rows, order of batches, checkpoints, token counts. Imports torch.

trl's trainers would tokenise with the tokenizer's own chat template, keep a second adapter, cast quantised adapters to
bfloat16, align the model's special tokens, write model cards and send telemetry: all of that is turned off here.
The losses are trl's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field, make_dataclass
from itertools import islice
from typing import Any

import datasets
import torch
from accelerate.utils import is_peft_model
from camelid_core.errors import DataError, TrainingError
from camelid_train.loop.batches import StepBatches, lengths_of
from camelid_train.loop.micro_batches import error_message, is_out_of_memory
from camelid_train.loop.trainer import CheckpointMixin, EpochLoader, longest_examples
from camelid_train.objectives import TrainingRun
from torch.utils.data import DataLoader

Collate = Callable[[Sequence[Any]], Any]


class FullBatches(StepBatches):
    """Rows that do not fill a batch in every process wait for another epoch: trl gathers tensors of one size."""

    def __len__(self) -> int:
        return len(self.lengths) // (self.batch_size * self.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        return islice(super().__iter__(), len(self))  # incomplete batches come last


class TrlTrainerMixin(CheckpointMixin):
    """Comes before a trl trainer, which is made with a `placeholder_dataset()`; `set_up` gives it the run's rows."""

    train_dataset: Any
    control: Any
    accelerator: Any
    loss_is_scaled_for_ga: bool
    current_gradient_accumulation_steps: int
    collate: Collate
    group_by_length: bool = True
    min_rows: int = 1
    """Rows of the smallest batch that the loss can use."""
    raise_if_interrupted: Callable[[], None]
    heldout_batch_size: int
    pad_id: int

    def set_up(self, run: TrainingRun, collate: Collate) -> None:
        self.train_dataset = run.data.train
        self.pad_id = run.pad_id
        self.collate = collate
        self.raise_if_interrupted = run.raise_if_interrupted
        self.heldout_batch_size = run.recipe.eval.batch_size
        self.init_checkpoints(run.method)
        if not len(self.get_train_dataloader()):
            raise DataError(
                f"{len(run.data.train)} rows fill no batch of each process. Lower train.batch_size, or add rows."
            )

    def count(self, inputs: dict[str, Any]) -> tuple[int, int]:
        """Tokens in a batch, and how many of them are trained tokens."""
        return int(inputs["attention_mask"].sum()), int(inputs["completion_mask"].sum())

    def training_step(self, *inputs: Any) -> Any:
        """Raises TrainingError: memory ran out; these losses compare rows, so a batch cannot be split."""
        try:
            return super().training_step(*inputs)  # type: ignore[misc]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = error_message(error)
        raise TrainingError(f"memory ran out ({reason}) {self._memory_advice()}")

    def _memory_advice(self) -> str:
        rows, accumulation = int(self.args.per_device_train_batch_size), int(self.args.gradient_accumulation_steps)
        if rows // 2 < self.min_rows:
            return 'Set train.gradient_checkpointing="on" or method.type="qlora", or lower data.cutoff.'
        return f"Set train.batch_size={rows // 2} train.accumulation={accumulation * 2} for the same global batch."

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss = super().compute_loss(model, inputs, False, num_items_in_batch)  # type: ignore[misc]
        if not model.training:
            return loss
        total, trained = self.count(inputs)
        self.totals.total_tokens += total
        self.totals.trained_tokens += trained
        penalty = self.method.penalty(model)
        if penalty is None:
            return loss
        return loss + penalty / (self.current_gradient_accumulation_steps if self.loss_is_scaled_for_ga else 1)

    def _lengths(self, rows: Any) -> list[int]:
        return lengths_of(rows) if self.group_by_length else [0] * len(rows)

    def get_train_dataloader(self) -> Any:
        args, rows = self.args, self.train_dataset
        place = (args.gradient_accumulation_steps, args.process_index, args.world_size)
        kind = StepBatches if args.world_size == 1 else FullBatches
        batches = kind(self._lengths(rows), args.per_device_train_batch_size, args.seed, *place)
        return EpochLoader(rows, batch_sampler=batches, collate_fn=self.collate)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        batches = StepBatches(self._lengths(eval_dataset), self.heldout_batch_size, 0)
        own_generator = torch.Generator()  # a loader draws a seed it does not need: not from training's generator
        return DataLoader(eval_dataset, batch_sampler=batches, collate_fn=self.collate, generator=own_generator)

    def prediction_step(self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        self.raise_if_interrupted()
        return super().prediction_step(model, inputs, True)  # type: ignore[misc]

    def evaluate(self, *args: Any, **options: Any) -> Any:
        """The log of a training step that is due is still written as one: evaluating writes a log, too."""
        log_due, training = self.control.should_log, self.model.training
        try:
            return super().evaluate(*args, **options)  # type: ignore[misc]
        finally:
            self.control.should_log = log_due
            self.model.train(training)

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def _align_special_tokens(self) -> None:
        """The model's special tokens are saved as they were loaded."""

    def _send_telemetry(self) -> None:
        """No telemetry."""


class MeasurableTrainerMixin(TrlTrainerMixin):
    """For losses that depend on the rows alone: preflight can measure a step before step 1 (`MeasurableTrainer`)."""

    sequences = 1
    _running_metrics = ("_metrics", "_stored_metrics", "_total_train_tokens")
    """Attributes in which trl's trainers accumulate metrics until they next log."""

    @property
    def micro_batch(self) -> int:
        return int(self.args.per_device_train_batch_size)

    def longest_batch(self, rows: int) -> Any:
        """A batch of the longest rows, with both answers of each."""
        return self.collate(longest_examples(self.train_dataset, rows))

    def loss_divisor(self, inputs: Any) -> None:
        """These losses are means."""

    def begin_step(self) -> None:
        names = [name for name in self._running_metrics if hasattr(self, name)]
        self._snapshot = copy.deepcopy({name: getattr(self, name) for name in names}), copy.copy(self.totals)

    def discard_step(self, model: Any) -> None:
        """Drop the gradients and restore the metrics and counts of `begin_step`."""
        model.zero_grad()
        reported, totals = self._snapshot
        vars(self).update(reported)
        self.totals.total_tokens, self.totals.trained_tokens = totals.total_tokens, totals.trained_tokens

    def set_micro_batch(self, rows: int, reason: str) -> None:
        """Raises TrainingError: these batches cannot be split into micro-batches."""
        raise TrainingError(f"{reason} {self._memory_advice()} train.preflight=false tries it all the same.")


def placeholder_dataset(**columns: Any) -> datasets.Dataset:
    """One row, because trl's constructors require a `datasets.Dataset` and read its first row."""
    return datasets.Dataset.from_list([columns])


def with_transformers_defaults(kind: Any) -> Any:
    """trl's arguments with the defaults of transformers where trl has others."""
    others = {"bf16": False, "gradient_checkpointing": None, "disable_dropout": False}
    fields = [(name, Any, field(default=value)) for name, value in others.items()]
    return make_dataclass(kind.__name__, fields, bases=(kind,))


def make_keeping_dtypes(make: Callable[[], Any], model: Any) -> Any:
    """The trainer that `make` constructs; trainable parameters keep their dtype.

    Only the adapter keeps its dropout: the reference model must be deterministic.
    """
    trainable = [(parameter, parameter.data) for parameter in model.parameters() if parameter.requires_grad]
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout) and "lora_dropout" not in name:
            module.p = 0.0
    made = make()
    for parameter, data in trainable:
        if parameter.dtype != data.dtype:
            parameter.data = data.to(parameter.device)
    return made


def with_reference_model(kind: Any, run: TrainingRun, arguments: Any, rows: datasets.Dataset) -> Any:
    """A trainer whose reference model is the model as it is now: with its adapter off, or a frozen copy."""
    adapted = is_peft_model(run.model)
    reference = ReferencePlaceholder(run.model) if adapted else copy.deepcopy(run.model).requires_grad_(False)
    options = {"args": arguments, "train_dataset": rows, "processing_class": run.tokenizer}
    made = make_keeping_dtypes(lambda: kind(run.model, ref_model=reference, **options), run.model)
    if adapted:
        made.ref_model = None
    return made


class ReferencePlaceholder(torch.nn.Module):
    """Passed to a trl constructor as the reference model, so that it adds no second adapter for one.

    Without a reference model trl's losses disable the adapter instead, which is the same and costs no memory.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.config = model.config
