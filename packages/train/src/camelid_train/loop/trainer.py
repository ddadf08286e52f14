"""The transformers Trainer with Camelid's batches, loss and checkpoints.

Knows the Trainer's methods to override. Knows nothing of recipes, events or artefacts.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from camelid_core.tokenization.encoder import IGNORE, Example
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from camelid_train.distributed import checkpoint_parts, group
from camelid_train.methods import TuningMethod
from camelid_train.methods.full import FULL
from camelid_train.saving import checkpoint
from camelid_train.saving.retention import CheckpointRetention
from camelid_train.saving.run_totals import RunTotals

from .batches import Collator, StepBatches, lengths_of
from .loss import label_loss, label_positions
from .micro_batches import MicroBatchMixin
from .packing import pack_rows, row_lengths
from .schedule import ScheduleMixin


def longest_examples(examples: Sequence[Any], rows: int) -> list[Any]:
    """The longest examples, the longest first."""
    lengths = lengths_of(examples)
    return [examples[index] for index in heapq.nlargest(rows, range(len(lengths)), key=lengths.__getitem__)]


class EpochLoader(DataLoader[Any]):
    """A data loader that sets the epoch of its batch sampler, so that each epoch has its own order."""

    batch_sampler: StepBatches

    def set_epoch(self, epoch: int) -> None:
        self.batch_sampler.set_epoch(epoch)


class AfterStepCallback(TrainerCallback):
    """Lets the tuning method act between the optimizer's step and the clearing of the gradients."""

    def __init__(self, method: TuningMethod[Any]) -> None:
        self.method = method

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **_: Any
    ) -> None:
        self.method.after_step(model, state.global_step + 1)


class CheckpointMixin(ScheduleMixin):
    """Trainer mixin: checkpoints in Camelid's own format, and the tuning method acts after each optimizer step."""

    model: Any
    state: TrainerState
    method: TuningMethod[Any]
    totals: RunTotals
    retention: CheckpointRetention = CheckpointRetention()
    gradient_norm: Any = 0.0
    _tr_loss: torch.Tensor
    _globalstep_last_logged: int

    def init_checkpoints(self, method: TuningMethod[Any]) -> None:
        """To be called at the end of `__init__`. `totals` counts tokens and losses of the run."""
        self.method = method
        self.totals = RunTotals()
        self.add_callback(AfterStepCallback(method))  # type: ignore[attr-defined]

    @property
    def open_loss(self) -> torch.Tensor:
        """The sum of the losses since the last one was reported."""
        return self._tr_loss

    def _clip_grad_norm(self, model: Any) -> Any:
        self.gradient_norm = super()._clip_grad_norm(model)  # type: ignore[misc]
        return self.gradient_norm

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.is_deepspeed_enabled:  # type: ignore[attr-defined]
            return  # its optimizer lies in shards that only it can read: such a run starts again from step 1
        extra, retention, directory = self.method.state(self.model), self.retention, Path(self.args.output_dir)
        self.totals.open_loss, self.totals.reported = (
            group.mean_over_processes(float(self.open_loss)),
            self._globalstep_last_logged,
        )

        def write(model: Any, optimizer: Any, rng_states: Sequence[Any]) -> None:
            checkpoint.save(
                directory,
                self.state.global_step,
                model,
                optimizer,
                self.lr_scheduler,
                self.state,
                self.totals,
                extra=extra,
                identity=retention.identity,
                rng_states=rng_states,
            )
            checkpoint.prune([directory, *retention.earlier], self.state.global_step, retention.keep, retention.best)

        checkpoint_parts.save(write, self.model, self.optimizer, checkpoint.capture_rng_state())

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        path = Path(resume_from_checkpoint)
        checkpoint_parts.load_model(lambda whole: checkpoint.load_weights(path, whole), self.model)
        self.method.restore(self.model, checkpoint.load_method_state(Path(resume_from_checkpoint)))

    def _load_optimizer_and_scheduler(self, resume_from_checkpoint: str | None) -> None:
        if resume_from_checkpoint is not None:
            path = Path(resume_from_checkpoint)
            read = partial(checkpoint.load_optimizer, path, scheduler=self.lr_scheduler)
            checkpoint_parts.load_optimizer(read, self.optimizer, self.model)

    def _load_rng_state(self, resume_from_checkpoint: str | None) -> None:
        if resume_from_checkpoint is not None:
            checkpoint.load_rng_state(Path(resume_from_checkpoint), self.args.process_index)
            # nothing is loaded after this: losses are reported from here on as if the run had never stopped
            self._tr_loss.fill_(self.totals.open_loss)
            self._globalstep_last_logged = self.totals.reported


class SftTrainer(CheckpointMixin, MicroBatchMixin, Trainer):
    """Supervised fine-tuning (SFT) on tokenised examples. With `packing`, rows are packed instead of padded."""

    packing = False
    sequences = 1

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        examples: Sequence[Example],
        pad_id: int,
        method: TuningMethod[Any] = FULL,
        **options: Any,
    ) -> None:
        super().__init__(model=model, args=args, train_dataset=examples, **options)
        self.pad_id = pad_id
        self.init_checkpoints(method)
        self.model_accepts_loss_kwargs = True  # our loss divides by the labels of the whole accumulated batch

    def get_train_dataloader(self) -> EpochLoader:
        batches = StepBatches(
            lengths_of(self.train_dataset),
            self.args.per_device_train_batch_size,
            self.args.seed,
            self.args.gradient_accumulation_steps,
            self.args.process_index,
            self.args.world_size,
        )
        return EpochLoader(self.train_dataset, batch_sampler=batches, collate_fn=Collator(self.pad_id))

    def longest_batch(self, rows: int) -> dict[str, torch.Tensor]:
        """A batch of the longest rows of the training data: the one that takes the most memory."""
        return Collator(self.pad_id)(longest_examples(self.train_dataset, rows))

    def loss_divisor(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """What the summed loss of one batch is divided by: its labels."""
        return (inputs["labels"][:, 1:] != IGNORE).sum().to(self.args.device)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Count tokens, pack rows and find labels on the CPU, before the batch goes to its device: nothing waits
        there."""
        lengths = row_lengths(inputs["input_ids"], inputs["labels"], self.pad_id)
        if self.packing:
            inputs = pack_rows(inputs["input_ids"], inputs["labels"], lengths)
        positions = label_positions(inputs["labels"])
        self.totals.total_tokens += int(lengths.sum())
        self.totals.trained_tokens += len(positions)
        prepared: dict[str, Any] = super()._prepare_inputs({**inputs, "positions": positions})
        return prepared

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        labels = len(inputs["positions"]) if num_items_in_batch is None else num_items_in_batch
        loss = label_loss(model, **inputs) / labels
        loss = loss * self.args.world_size  # the labels are of all processes, and gradients are averaged over them
        penalty = self.method.penalty(model) if model.training else None
        return loss if penalty is None else loss + penalty / self.current_gradient_accumulation_steps
