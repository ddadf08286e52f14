"""NaN guard: a NaN or infinite loss or gradient ends the run before it reaches the weights, and names the rows.

Knows the Trainer's step and how to find its rows. Costs one comparison per step, and among several processes a few
bytes; rows are searched only after the failure. Each process searches its own rows, but a sharded model (FSDP) needs
all processes for every row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from camelid_core.errors import CamelidError, NanLoss
from camelid_core.records import Record
from camelid_core.tasks import TaskContext
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from camelid_train.distributed import group, sharded_state
from camelid_train.loop.batches import Collator
from camelid_train.loop.loss import label_loss
from camelid_train.saving.checkpoint import newest_valid

Origin = Callable[[int], Record]
"""The record that a training example was made from, by the example's number."""

_MAX_ROWS = 5
_EXCERPT = 120


@dataclass(frozen=True, slots=True)
class RowLoss:
    """A row of the step: its number among the training rows, its source, its own loss, and an excerpt of its text."""

    row: int
    source: str
    id: str
    loss: float
    excerpt: str

    def __str__(self) -> str:
        where = f"row {self.id} of {self.source}" if self.source else f"training row {self.row + 1}"
        return f"{where} (loss {self.loss:.4g})" + (f": {self.excerpt!r}" if self.excerpt else "")


class NanGuard(TrainerCallback):
    """Checks loss and gradient norm before each optimizer step. Emits `stop`: reason, text, rows.

    Raises:
        NanLoss: naming the rows of the step, those without a loss of their own first.
    """

    def __init__(self, context: TaskContext, trainer: Any, origin: Origin | None = None) -> None:
        self.context = context
        self.trainer = trainer
        self.origin = origin

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        norm = self.trainer.gradient_norm
        loss, norm = float(self.trainer.open_loss), 0.0 if norm is None else float(norm)  # DeepSpeed may have none
        if not group.any_process(self._is_wrong(loss, norm)):
            return
        loss = next((each for each in group.gather_objects(loss) if not math.isfinite(each)), loss)
        worst_rows = self._worst_rows(state.global_step)
        rows = " Its rows: " + "; ".join(map(str, worst_rows)) + "." if worst_rows else ""
        lost = "nothing of that step was learnt"
        if self.trainer.is_deepspeed_enabled:  # its optimizer step is done already
            lost = "no result is written; launch.strategy='fsdp' would say which rows did that"
        text = (
            f"the loss became {loss if not math.isfinite(loss) else 'too large'} (gradient norm {norm:g}) at step "
            f"{state.global_step + 1}; {lost}.{self._kept_checkpoint()}{rows} {_advice(worst_rows, args)}"
        )
        self.context.emit("stop", reason="nan", text=text, rows=[asdict(each) for each in worst_rows])
        raise NanLoss(text)

    def _is_wrong(self, loss: float, norm: float) -> bool:
        if math.isfinite(loss) and math.isfinite(norm):
            return False
        scaler = getattr(self.trainer.accelerator, "scaler", None)
        scaled = scaler is not None and scaler.is_enabled()
        return not (math.isfinite(loss) and scaled)  # a gradient scaler overflows on purpose, and skips such steps

    def _worst_rows(self, step: int) -> list[RowLoss]:
        """The rows with the highest loss, of all processes; those without a finite loss first."""
        if self.trainer.is_deepspeed_enabled:
            return []
        together = sharded_state.is_sharded(self.trainer.model)
        try:
            rows = rows_in_step(self.trainer, step)
            if together:
                rows = sorted({row for part in group.gather_objects(rows) for row in part})
            found = find_worst_rows(self.trainer, rows, self.origin)
        except Exception:  # a failed search must not hide the NaN
            found = []
        parts = [found] if together else group.gather_objects(found)
        return sorted((each for part in parts for each in part), key=_worst_first)[:_MAX_ROWS]

    def _kept_checkpoint(self) -> str:
        places = [Path(self.trainer.args.output_dir), *self.trainer.retention.earlier]
        newest = newest_valid(places)
        return f" The checkpoint {newest.name} is kept." if newest is not None else ""


def _advice(worst_rows: Sequence[RowLoss], args: TrainingArguments) -> str:
    rate = f"Lower train.learning_rate (now {args.learning_rate:g})"
    if any(not math.isfinite(each.loss) for each in worst_rows[1:]) or not worst_rows:
        return f"{rate}, or train in float32."
    if math.isfinite(worst_rows[0].loss):
        return f"{rate}."
    return f"Mend or leave out the first of them. {rate} if they look sound."


def find_worst_rows(trainer: Any, rows: Sequence[int], origin: Origin | None) -> list[RowLoss]:
    """Those of `rows` with the highest loss, those without a finite one first."""
    losses = [(row, _loss(trainer, row)) for row in rows]
    found = sorted((RowLoss(row, "", "", loss, "") for row, loss in losses), key=_worst_first)[:_MAX_ROWS]
    return [_with_origin(each, origin) for each in found]


def _worst_first(row_loss: RowLoss) -> float:
    return -row_loss.loss if math.isfinite(row_loss.loss) else -math.inf


def rows_in_step(trainer: Any, step: int) -> list[int]:
    """Numbers of the examples that this process has in the optimizer step after `step` steps; none where the batches
    cannot be reproduced."""
    batches: Any = getattr(trainer.get_train_dataloader(), "batch_sampler", None)
    if not hasattr(batches, "set_epoch"):
        return []
    accumulation = trainer.args.gradient_accumulation_steps
    epoch, place = divmod(step, -(-len(batches) // accumulation))
    batches.set_epoch(epoch)
    return [row for batch in list(batches)[place * accumulation : (place + 1) * accumulation] for row in batch]


@torch.no_grad()
def _loss(trainer: Any, row: int) -> float:
    """The mean loss of one row without dropout; NaN if it cannot be computed."""
    model = trainer.model
    was_training = model.training
    model.eval()
    try:
        inputs = Collator(trainer.pad_id)([trainer.train_dataset[row]])
        labels = inputs["labels"].to(model.device)
        return float(label_loss(model, inputs["input_ids"].to(model.device), labels)) / int((labels[:, 1:] >= 0).sum())
    except (RuntimeError, ArithmeticError, IndexError):
        return math.nan
    finally:
        model.train(was_training)


def _with_origin(row_loss: RowLoss, origin: Origin | None) -> RowLoss:
    try:
        record = origin(row_loss.row) if origin is not None else None
    except (CamelidError, LookupError, OSError):  # the source may be gone by now: only the row's number is named
        record = None
    if record is None:
        return row_loss
    text = " → ".join(message.text for message in record.messages)
    excerpt = text[:_EXCERPT] + "…" * (len(text) > _EXCERPT)
    return replace(row_loss, source=record.source, id=record.id, excerpt=excerpt)
