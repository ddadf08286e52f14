"""What a worker can run: a named task, its configuration class, and the context that it runs with.

Knows the contract between a task and its caller. Knows nothing of queues or processes.
A task is described by import paths, so listing tasks imports none of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from .config import Config

StopRequest = Literal["", "finish", "save"]
"""What a running task is asked to do: nothing; finish early and keep the result; save its state and exit."""


class TaskContext(Protocol):
    """What a task is given to run with."""

    @property
    def directory(self) -> Path:
        """This attempt's own directory: checkpoints and other state go here. It exists."""

    @property
    def output(self) -> Path:
        """Where to write the result. It does not exist yet; publication moves it to its final place."""

    @property
    def earlier_attempts(self) -> tuple[Path, ...]:
        """Directories of earlier attempts at the same job, newest first, to resume from."""

    def emit(self, kind: str, **values: Any) -> None:
        """Append an event: `progress` (done, total, unit, and more), `log` (text), or a kind of the task's own.

        Where saving and exiting may take long, `progress` says how long: `leaving`, in seconds.
        A task that resumes from steps says from which: `resume` (step, 0 for the beginning) once it knows, and
        `checkpoint` (step) after each that it saved. One that has measured what it will take says so: `memory` (device
        cuda or cpu, bytes of each card or of the machine); what it was given beyond that goes to other jobs.
        """

    def stop_requested(self) -> StopRequest:
        """To be called between steps. `save`: save state, raise `Interrupted`. `finish`: end now as if done."""


class Interrupted(Exception):
    """A task saved its state and ended because `stop_requested()` returned `save`."""


RunFunction = Callable[[Any, TaskContext], Mapping[str, Any]]
BundleFunction = Callable[[Any, int, Path], Path]
NeedsFunction = Callable[[Any, Any], Any]


@dataclass(frozen=True, slots=True)
class Task:
    """A kind of job. `config`, `run` and `bundle` are `module:attribute` import paths.

    `run(config, context)` writes a directory with a manifest at `context.output` and returns a
    small JSON-able summary. `bundle(store, job_id, target)`, where a task has it, writes an archive
    from which such a job can be reproduced, and returns its path. `needs(config, store)` gives the
    `jobs.resources.Needs` of such a job while it runs; with None, and for a task without it, they are not known, so it
    runs with nothing beside. `output` is the field of the configuration that says where the result goes, as
    `section.field`. `portable` says that such jobs may run on another machine: all that they read is declared in their
    configuration (`camelid_core.references`), and all they write is their output.
    """

    name: str
    help: str
    config: str
    run: str
    bundle: str = ""
    output: str = "output"
    needs: str = ""
    portable: bool = False

    def load_config(self) -> type[Config]:
        return import_attribute(self.config)  # type: ignore[no-any-return]

    def load_run(self) -> RunFunction:
        return import_attribute(self.run)  # type: ignore[no-any-return]

    def load_bundle(self) -> BundleFunction | None:
        return import_attribute(self.bundle) if self.bundle else None

    def load_needs(self) -> NeedsFunction | None:
        return import_attribute(self.needs) if self.needs else None


def import_attribute(path: str) -> Any:
    """The attribute that `module:attribute` names."""
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)
