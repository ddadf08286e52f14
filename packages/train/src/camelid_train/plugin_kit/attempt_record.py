"""Small recipes, and attempts as a worker would make them, with the events of each to look at.

Knows attempts without a worker or a job table. Not imported by the product.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from camelid_core.events import read_events
from camelid_core.jobs.attempt import AttemptContext
from camelid_core.jobs.run_directories import EVENTS, attempt_directory
from camelid_core.tasks import StopRequest

from camelid_train.config import Recipe


def small_recipe(model: Path, data: Path, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe of a few steps for a tiny model."""
    values = {
        "model": {"name": str(model), "dtype": "float32"},
        "data": {"sources": [str(data)], "eval_rows": 4, "template": "chatml"},
        "train": {"batch_size": 8, "epochs": 50, "max_steps": 6, "log_steps": 1, "learning_rate": 0.02},
    }
    return Recipe.model_validate(values).with_overrides(overrides)


class AttemptRecord:
    """The events and the result of an attempt."""

    directory: Path
    output: Path

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in read_events(self.directory / EVENTS)[0] if event["kind"] == kind]

    def numbers(self, name: str) -> list[float]:
        """One of the curves."""
        return [event[name] for event in self.events("train")]

    @property
    def losses(self) -> list[float]:
        return self.numbers("loss")

    @property
    def manifest(self) -> Any:
        return json.loads((self.output / "camelid.json").read_text(encoding="utf-8"))


class Attempt(AttemptRecord, AttemptContext):
    """The context of an attempt; `stop_at` requests a kind of stop once so many steps are done."""

    stop_at: tuple[int, StopRequest] | None = None

    def emit(self, kind: str, **values: Any) -> None:
        super().emit(kind, **values)
        if self.stop_at and kind == "progress" and values["done"] >= self.stop_at[0]:
            self.request_stop(self.stop_at[1])


def attempts(home: Path) -> Iterator[Callable[..., Attempt]]:
    """Makes attempts, by number, at jobs of a home directory: what a fixture yields from, so that all are closed."""
    made: list[Attempt] = []

    def make(epoch: int = 1, job: int = 1) -> Attempt:
        directory = attempt_directory(home, job, epoch)
        directory.mkdir(parents=True)
        made.append(Attempt(directory))
        return made[-1]

    try:
        yield make
    finally:
        for each in made:
            each.close()


def tuned_and_merged(model: Path, data: Path, attempt: Callable[..., Attempt], *overrides: str) -> tuple[Attempt, Path]:
    """A LoRA run on `data` with the model's own template and the family's own targets, and the directory of base and
    adapter merged."""
    from camelid_train.export.merge import merge
    from camelid_train.export.merge_config import MergeConfig
    from camelid_train.run import train

    run = attempt(job=1)
    train(small_recipe(model, data, ("data.template=", "data.eval_rows=0", "eval.samples=0", *overrides)), run)
    merged = attempt(job=2)
    merge(MergeConfig(adapter=str(run.output)), merged)
    return run, merged.output
