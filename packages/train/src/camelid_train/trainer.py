"""The transformers Trainer with our batches, our loss and our checkpoints.

Knows how to hand the loop what is ours. Knows nothing of recipes, events or artefacts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from camelid_core.tokenizing import IGNORE, Example
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from . import checkpoint
from .batching import Collator, LengthBatches, lengths_of
from .loss import label_loss
from .methods import TuningMethod
from .tally import Tally

PLAIN: TuningMethod[Any] = TuningMethod()


class EpochLoader(DataLoader[Any]):
    """A loader that tells its batches which epoch it is, so that each has its own order."""

    batch_sampler: LengthBatches

    def set_epoch(self, epoch: int) -> None:
        self.batch_sampler.set_epoch(epoch)


class AfterStep(TrainerCallback):
    """Lets the tuning method act between the optimizer's step and the clearing of the gradients."""

    def __init__(self, method: TuningMethod[Any]) -> None:
        self.method = method

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **_: Any
    ) -> None:
        self.method.after_step(model, state.global_step + 1)


class SftTrainer(Trainer):
    """Supervised fine-tuning on tokenised examples. `tally` counts what was done."""

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        examples: Sequence[Example],
        pad_id: int,
        method: TuningMethod[Any] = PLAIN,
        **options: Any,
    ) -> None:
        super().__init__(model=model, args=args, train_dataset=examples, **options)
        self.pad_id = pad_id
        self.method = method
        self.add_callback(AfterStep(method))
        self.model_accepts_loss_kwargs = True  # our loss divides by the labels of the whole accumulated batch
        self.tally = Tally()

    def get_train_dataloader(self) -> EpochLoader:
        batches = LengthBatches(lengths_of(self.train_dataset), self.args.per_device_train_batch_size, self.args.seed)
        return EpochLoader(self.train_dataset, batch_sampler=batches, collate_fn=Collator(self.pad_id))

    def compute_loss(
        self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        labels = inputs["labels"]
        trained = (labels[:, 1:] != IGNORE).sum()
        self.tally.total_tokens += int((inputs["input_ids"] != self.pad_id).sum())
        self.tally.trained_tokens += int(trained)
        loss = label_loss(model, inputs["input_ids"], labels) / (num_items_in_batch or trained)
        penalty = self.method.penalty(model) if model.training else None
        return loss if penalty is None else loss + penalty / self.current_gradient_accumulation_steps

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        state = self.state
        checkpoint.save(
            Path(self.args.output_dir),
            state.global_step,
            self.model,
            self.optimizer,
            self.lr_scheduler,
            state,
            self.tally,
            extra=self.method.state(self.model),
        )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        checkpoint.load_weights(Path(resume_from_checkpoint), self.model)
        self.method.restore(self.model, checkpoint.load_extra(Path(resume_from_checkpoint)))

    def _load_optimizer_and_scheduler(self, resume_from_checkpoint: str | None) -> None:
        if resume_from_checkpoint is not None:
            checkpoint.load_optimizer(Path(resume_from_checkpoint), self.optimizer, self.lr_scheduler)

    def _load_rng_state(self, resume_from_checkpoint: str | None) -> None:
        if resume_from_checkpoint is not None:
            checkpoint.load_random(Path(resume_from_checkpoint))
