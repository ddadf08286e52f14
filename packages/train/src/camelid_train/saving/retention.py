"""Which checkpoints a run keeps, and from which one it resumes.

Knows the directories of a job's attempts. Knows nothing of what a checkpoint holds: that is in `checkpoint`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from camelid_core import staging
from camelid_core.errors import TrainingError
from camelid_core.integrity import fingerprint
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.tasks import TaskContext
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from camelid_train.data import PreparedData

from . import checkpoint, disk_space

CHECKPOINT_DIRECTORY = "checkpoints"


@dataclass(frozen=True, slots=True)
class CheckpointRetention:
    """How many checkpoints are kept, whether the best is among them, where those of earlier attempts are, and the
    `identity` (base model, data) that a resumed run must share with the run that wrote one."""

    keep: int = 2
    best: bool = False
    earlier: tuple[Path, ...] = ()
    identity: Mapping[str, Any] = field(default_factory=dict)


class CheckpointEvents(TrainerCallback):
    """Emits a `checkpoint` event after each checkpoint that was written: step, bytes."""

    def __init__(self, context: TaskContext) -> None:
        self.context = context

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        written = Path(str(args.output_dir)) / checkpoint.directory_name(state.global_step)
        if written.is_dir():  # with DeepSpeed nothing is
            self.context.emit("checkpoint", step=state.global_step, bytes=disk_space.size_of(written))


def earlier_checkpoints(context: TaskContext) -> tuple[Path, ...]:
    return tuple(directory / CHECKPOINT_DIRECTORY for directory in context.earlier_attempts)


def resume_identity(resolved: ResolvedModel, data: PreparedData) -> dict[str, Any]:
    """The base model and the rows: resuming with others would be neither the old run nor a new one."""
    rows = {use.id: [use.rows, use.sha256] for use in data.datasets}
    return {"base": fingerprint(resolved.base), "data": rows, "kept": [len(data.train), len(data.heldout)]}


def find_resume_checkpoint(context: TaskContext, identity: Mapping[str, Any]) -> Path | None:
    """The checkpoint to resume from, if there is one; `log` events say which, and which damaged ones were skipped.

    Raises:
        TrainingError: the base or the data changed since it was written.
    """
    directories = earlier_checkpoints(context)
    for directory in directories:
        staging.sweep(directory)
    damaged: list[str] = []

    def skipped(path: Path, why: str) -> None:
        damaged.append(path.name)
        context.emit("log", text=f"The checkpoint {path.name} is damaged and passed over: {why}.")

    found = checkpoint.newest_valid(directories, skipped)
    if found is not None:
        _check_identity(found, identity)
        context.emit("log", text=f"Resuming from {found.name}.")
    elif damaged:
        context.emit("log", text="No sound checkpoint is left: the run begins anew.")
    return found


_NAMES = {"base": "the base model", "data": "the training data", "kept": "the rows that the cut-off leaves"}


def _check_identity(found: Path, identity: Mapping[str, Any]) -> None:
    before = checkpoint.load_identity(found)
    changed = [_NAMES[name] for name, value in identity.items() if _content(before.get(name, value)) != _content(value)]
    if changed:
        raise TrainingError(
            f"{changed[0]} changed since the checkpoint {found.name} was written, so the run cannot go on from it. "
            "Put it back as it was and retry, or start a new run."
        )


def _content(value: Any) -> Any:
    """Of the data their rows alone: the same file may lie elsewhere, as on another machine."""
    return sorted(value.values()) if isinstance(value, dict) else value


def is_finished(found: Path) -> bool:
    """Whether training had ended when this was written: nothing is left to do but to publish."""
    step, last = checkpoint.progress_of(found)
    return step >= last or bool(checkpoint.load_totals(found).stopped)


def load_best_weights(trainer: Any, context: TaskContext, step: int) -> bool:
    """Load the weights with the lowest held-out loss into the model; False if they are those it has, of `step`, or
    their checkpoint is gone."""
    best = trainer.totals.best_step
    if best == step:
        return False
    found = checkpoint.at_step([Path(trainer.args.output_dir), *trainer.retention.earlier], best)
    if found is None:
        context.emit("log", text=f"The checkpoint of step {best}, the best, is damaged: the last parameters it is.")
        return False
    trainer._load_from_checkpoint(str(found))
    context.emit("log", text=f"The result has the parameters of step {best}: their held-out loss was the lowest.")
    return True
