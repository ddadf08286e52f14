"""Experiment trackers: a run's metrics go to TensorBoard, trackio, Weights & Biases (W&B) or MLflow.

Knows events and transformers' own callbacks for each tracker. Knows nothing of training: the metrics of a run's events
go out under the same names, with the recipe as hyperparameters. A tracker that fails is dropped with a log entry.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from camelid_core.errors import MissingPackage
from camelid_core.paths import home
from camelid_core.tasks import StopRequest, TaskContext

from camelid_train.config import Recipe
from camelid_train.distributed.world import world_from_environment

PROJECT = "camelid"
_PREFIX = {"train": "", "eval": "eval_"}


@dataclass(frozen=True, slots=True)
class Tracker:
    """A name in `train.report_to`: its package, how to view its curves, and environment variables that it gets
    unless they are set. `{home}` is Camelid's home, `{run}` the run's name, `{id}` that and the machine."""

    name: str
    package: str
    view_hint: str
    environment: Mapping[str, str]


TRACKERS = {
    tracker.name: tracker
    for tracker in (
        Tracker(
            "tensorboard",
            "tensorboard",
            "`tensorboard --logdir {home}/tensorboard` shows them",
            {"TENSORBOARD_LOGGING_DIR": "{home}/tensorboard/{run}"},
        ),
        Tracker("trackio", "trackio", f"`trackio show --project {PROJECT}` shows them", {}),
        Tracker(
            "wandb",
            "wandb",
            f"project {PROJECT} at wandb.ai shows them",
            {"WANDB_PROJECT": PROJECT, "WANDB_DIR": "{home}", "WANDB_RUN_ID": "{id}", "WANDB_RESUME": "allow"},
        ),
        Tracker(
            "mlflow",
            "mlflow",
            "`mlflow ui --backend-store-uri sqlite:///{home}/mlflow.db` shows them",
            {
                "MLFLOW_EXPERIMENT_NAME": PROJECT,
                "MLFLOW_TRACKING_URI": "sqlite:///{home}/mlflow.db",
                "MLFLOW_DISABLE_TELEMETRY": "true",
            },
        ),
    )
}


def check_trackers(names: Sequence[str]) -> None:
    """Raise MissingPackage if a tracker's package is not installed; imports none."""
    for name in names:
        if find_spec(TRACKERS[name].package) is None:
            raise MissingPackage(
                f"train.report_to names {name!r}, and package {TRACKERS[name].package!r} is not installed; type "
                f"`pip install 'camelid-train[{name}]'`."
            )


@contextmanager
def with_trackers(recipe: Recipe, context: TaskContext) -> Iterator[TaskContext]:
    """The context of a run, whose metrics also go to the trackers that the recipe names.

    Raises:
        MissingPackage: a tracker is not installed.
    """
    names = list(dict.fromkeys(recipe.train.report_to))
    check_trackers(names)
    if (
        not names or world_from_environment().node or os.environ.get("NODE_RANK", "0") != "0"
    ):  # the first node reports for all
        yield context
        return
    tracked = TrackedContext(recipe, context, [TRACKERS[name] for name in names])
    try:
        yield tracked
    finally:
        tracked.close()


class TrackedContext:
    """A run's context that also sends metrics to trackers. They start with the first metric, so that a run that fails
    before leaves nothing there."""

    def __init__(self, recipe: Recipe, context: TaskContext, trackers: Sequence[Tracker]) -> None:
        self._recipe = recipe
        self._context = context
        self._unstarted = list(trackers)
        self._callbacks: dict[str, Any] = {}
        self._arguments: Any = None
        self._step = 0

    @property
    def directory(self) -> Path:
        return self._context.directory

    @property
    def output(self) -> Path:
        return self._context.output

    @property
    def earlier_attempts(self) -> tuple[Path, ...]:
        return self._context.earlier_attempts

    def stop_requested(self) -> StopRequest:
        return self._context.stop_requested()

    def emit(self, kind: str, **values: Any) -> None:
        self._context.emit(kind, **values)
        if kind not in _PREFIX:
            return
        numbers = {
            _PREFIX[kind] + name: value
            for name, value in values.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and name != "step"
        }
        self._step = int(values.get("step", self._step))
        self._start()
        for name in list(self._callbacks):
            self._call(name, "on_log", logs=numbers)

    def close(self) -> None:
        for name in list(self._callbacks):
            self._call(name, "on_train_end")

    def _start(self) -> None:
        waiting, self._unstarted = self._unstarted, []
        for tracker in waiting:
            try:
                self._callbacks[tracker.name] = self._make_callback(tracker)
            except Exception as error:
                self._drop(tracker.name, error)
                continue
            self._call(tracker.name, "on_train_begin")
            if tracker.name in self._callbacks:  # it has begun
                view_hint = tracker.view_hint.format(home=home())
                self._context.emit("log", text=f"The curves go to {tracker.name} too, as {self._run!r}: {view_hint}.")

    def _make_callback(self, tracker: Tracker) -> Any:
        from transformers.integrations import get_reporting_integration_callbacks

        for name, value in tracker.environment.items():
            os.environ.setdefault(name, value.format(home=home(), run=self._run, id=self._id))
        self._arguments = self._arguments or _arguments(self._recipe, self._context.directory, self._run)
        (callback,) = get_reporting_integration_callbacks([tracker.name])
        return callback()

    @property
    def _run(self) -> str:
        """The run's name and the job's number: an attempt that resumes it continues the same tracker run."""
        name = getattr(self._context, "name", "") or Path(self._recipe.train.output).name or "train"
        name = re.sub(r"[^\w.-]", "-", name)
        return f"{name}-{self._context.directory.parent.name.lstrip('0')}"

    @property
    def _id(self) -> str:
        place = f"{socket.gethostname()}{self._context.directory.parent}"
        return f"{self._run}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"

    def _call(self, name: str, event: str, **more: Any) -> None:
        from transformers import TrainerControl, TrainerState

        state = TrainerState(global_step=self._step, is_world_process_zero=True)
        try:
            getattr(self._callbacks[name], event)(self._arguments, state, TrainerControl(), model=None, **more)
        except Exception as error:  # a tracker that is down must not cost the run
            self._drop(name, error)

    def _drop(self, name: str, error: Exception) -> None:
        self._callbacks.pop(name, None)
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        self._context.emit("log", text=f"The run goes on without {name}: {reason}")


def _arguments(recipe: Recipe, directory: Path, run: str) -> Any:
    """What the callbacks read from TrainingArguments: directory, run name, and the recipe as hyperparameters."""
    from transformers import TrainingArguments

    settings = {
        f"{section}.{field}": value
        for section, values in recipe.model_dump(mode="json").items()
        for field, value in values.items()
    }

    class Arguments(TrainingArguments):
        def __init__(self, **given: Any) -> None:  # without the original's, which sets up devices again
            for field in fields(TrainingArguments):
                made = field.default if field.default_factory is MISSING else field.default_factory()
                setattr(self, field.name, given.get(field.name, made))

        def to_dict(self) -> dict[str, Any]:
            return settings

    return Arguments(output_dir=str(directory), run_name=run, project=PROJECT)
