"""The preflight report: memory, time and disk space of a run before step 1, whether they suffice, and what to set.

Knows a run's trainer, rows and recipe, and the sentences of the report. `step_measurement` measures.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from camelid_core.errors import DiskFull
from camelid_core.tasks import TaskContext
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from camelid_train.distributed.world import world_from_environment
from camelid_train.loop.memory import trainable_bytes
from camelid_train.memory_estimate import with_allowance
from camelid_train.objectives import TrainingRun

from .step_measurement import MAX_FIRST_STEP_SECONDS, StepMeasurement, measure_step

_PROPOSED_SHARE = 0.85
"""Share of the free memory that a proposed batch size is expected to use at most."""
_IDLE_SHARE = 0.5
"""A GPU of whose free memory less than this share is used could take a larger batch size."""


@dataclass(frozen=True, slots=True)
class RunSize:
    """Size of the whole run: optimizer steps, epochs (`passes`), tokens, and the factors of the global batch."""

    steps: int
    passes: float
    total_tokens: int
    trained_tokens: int
    batch_size: int
    accumulation: int
    processes: int

    @property
    def global_batch(self) -> int:
        return self.batch_size * self.accumulation * self.processes


@dataclass(frozen=True, slots=True)
class DiskUse:
    """Bytes on disk: one checkpoint, the result, the free space; and how many checkpoints exist at once."""

    checkpoint: int
    result: int
    checkpoints: int
    free: int

    @property
    def needed(self) -> int:
        return self.checkpoint * self.checkpoints + self.result


class Preflight(TrainerCallback):
    """Emits `preflight` when training begins; a resumed run has done it already.

    Raises:
        DiskFull: checkpoints and result do not fit onto the disk.
        TrainingError: not even one row fits into memory.
        Interrupted: told to save and end; there is nothing to save yet.
    """

    def __init__(self, context: TaskContext, run: TrainingRun, trainer: Any) -> None:
        self.context = context
        self.run = run
        self.trainer = trainer

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: Any = None,
        **_: Any,
    ) -> None:
        if state.global_step:
            return
        size = _run_size(self.run, self.trainer, state, len(train_dataloader))
        disk = _disk_use(self.run, self.context.directory, state.max_steps)
        if disk.needed > disk.free:
            raise DiskFull(
                f"this run needs {_bytes(disk.needed)} on the disk of {str(self.context.directory)!r} "
                f"({disk.checkpoints} checkpoints of {_bytes(disk.checkpoint)} and the result), and "
                f"{_bytes(disk.free)} are free. Free some, or lower train.keep."
            )
        why, measured = _why_unmeasured(self.trainer), None
        if not why:
            measured = measure_step(
                self.trainer, self.trainer.model, self.run.raise_if_interrupted, self.run.recipe.train.compile
            )
        event = preflight_event(size, disk, measured, str(args.device.type))
        self.context.emit("preflight", **event | {"notes": [*event["notes"], *why]})
        if measured is not None:
            taken = with_allowance(args.device.type, measured.peak, world_from_environment().local_size)
            self.context.emit("memory", device=args.device.type, bytes=taken)


def _why_unmeasured(trainer: Any) -> list[str]:
    """Why no step can be measured before step 1, if none can."""
    if trainer.is_deepspeed_enabled:
        return ["Memory and time are not measured: DeepSpeed makes no step that leaves no trace."]
    if not hasattr(trainer, "longest_batch"):
        return ["Memory and time are not measured: they depend on the answers that the model will give."]
    return []


def report_micro_batches(trainer: Any, context: TaskContext, run: TrainingRun) -> None:
    """Emit an event for every halved micro-batch; enable gradient checkpointing if an earlier attempt had to."""

    def emit_micro_batch(rows: int, parts: int, reason: str) -> None:
        context.emit("micro_batch", batch_size=rows, accumulation=parts, reason=reason)
        context.emit(
            "log",
            text=f"Memory ran out: from here on {rows} row{'s' * (rows > 1)} at a time, {parts} times per optimizer "
            f"step; the global batch stays as it is. ({reason})",
        )

    trainer.on_micro_batch_change = emit_micro_batch
    trainer.may_checkpoint_activations = run.recipe.train.gradient_checkpointing != "off"
    if trainer.totals.checkpointing and hasattr(trainer, "enable_gradient_checkpointing"):
        trainer.enable_gradient_checkpointing()


def preflight_event(size: RunSize, disk: DiskUse, measured: StepMeasurement | None, device: str) -> dict[str, Any]:
    """The values of the event: expected bytes and seconds; what was not measured is absent."""
    event: dict[str, Any] = {
        "total_tokens": size.total_tokens,
        "trained_tokens": size.trained_tokens,
        "passes": round(size.passes, 3),
        "steps": size.steps,
        "batch_size": size.batch_size,
        "accumulation": size.accumulation,
        "processes": size.processes,
        "global_batch": size.global_batch,
        "checkpoint_bytes": disk.checkpoint,
        "checkpoints": disk.checkpoints,
        "disk_bytes": disk.needed,
        "free_disk": disk.free,
        "proposed": None,
        "notes": [],
    }
    if measured is None:
        return event
    eta = measured.seconds / measured.tokens * size.total_tokens / size.processes
    proposed = propose_batch(size, measured, device)
    return event | {
        "device": device,
        "peak_memory": measured.peak,
        "free_memory": measured.free,
        "longest": measured.length,
        "worst_step_seconds": round(measured.seconds * size.accumulation, 3),
        "step_seconds": round(eta / size.steps, 3),
        "eta": round(eta, 1),
        "proposed": asdict(proposed) if proposed else None,
        "notes": list(_notes(size, measured, proposed)),
    }


@dataclass(frozen=True, slots=True)
class BatchProposal:
    batch_size: int
    accumulation: int


def propose_batch(size: RunSize, measured: StepMeasurement, device: str) -> BatchProposal | None:
    """Another batch size for the same global batch: smaller where memory is short, larger on an idle GPU."""
    per_process = size.batch_size * size.accumulation
    most = measured.max_rows(_PROPOSED_SHARE)
    best = max((rows for rows in range(1, per_process + 1) if not per_process % rows and rows <= most), default=1)
    short = measured.micro_batch_rows < measured.rows or measured.expected_bytes(size.batch_size) > measured.free
    idle = device == "cuda" and measured.peak < _IDLE_SHARE * measured.free
    if (short and best < size.batch_size) or (idle and best > size.batch_size):
        return BatchProposal(best, per_process // best)
    return None


def _notes(size: RunSize, measured: StepMeasurement, proposed: BatchProposal | None) -> Iterator[str]:
    if measured.seconds > MAX_FIRST_STEP_SECONDS * measured.rows:
        yield "One row took so long that the rest is reckoned from it."
    if proposed:
        why = (
            "would fit" if proposed.batch_size < size.batch_size else "would use the memory better, at the same result"
        )
        yield (
            f"train.batch_size={proposed.batch_size} train.accumulation={proposed.accumulation} {why}: "
            f"the global batch stays {size.global_batch}."
        )


def _run_size(run: TrainingRun, trainer: Any, state: TrainerState, batches: int) -> RunSize:
    args, account = trainer.args, run.data.account
    per_pass = -(-batches // args.gradient_accumulation_steps)
    passes = state.max_steps / max(1, per_pass)
    return RunSize(
        steps=state.max_steps,
        passes=passes,
        total_tokens=round(account.total_tokens * passes),
        trained_tokens=round(account.trained_tokens * passes),
        batch_size=args.per_device_train_batch_size,
        accumulation=args.gradient_accumulation_steps,
        processes=args.world_size,
    )


def _disk_use(run: TrainingRun, directory: Path, steps: int) -> DiskUse:
    """A checkpoint holds trainable parameters and AdamW's two moments; one more exists while it is written."""
    train, learning = run.recipe.train, trainable_bytes(run.model)
    whole = run.method.kind == "model"
    result = sum(p.numel() * p.element_size() for p in run.model.parameters()) if whole else learning
    kept = min(train.keep, steps // train.save_steps) + 1 + train.best
    return DiskUse(3 * learning, result, kept, shutil.disk_usage(directory).free)


def _bytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
