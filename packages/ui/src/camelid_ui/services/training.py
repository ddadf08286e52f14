"""Training runs: what a recipe would do, starting one, and how each goes.

Knows recipes, jobs and the events a training task emits. Trains nothing itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from camelid_core.datasets import open_source, parse_sources
from camelid_core.devices import cpu_has_bf16, describe
from camelid_core.errors import CamelidError, DataError, ModelError
from camelid_core.jobs import Job
from camelid_core.plugins import Host
from camelid_train.config import Recipe

from camelid_ui.fields import command_line

from .data import Data
from .jobs import Jobs, JobView
from .models import Models, dimensions, parameters

TASK = "train"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a recipe will take. `truncated` and `dropped` are shares of the rows: the largest of any source, and of
    all of them. Bytes and seconds are rough; `seconds` is 0 where nothing similar ran here yet."""

    rows: int
    steps: int
    tokens: int
    trained_tokens: int
    truncated: float
    dropped: float
    memory: int
    free: int
    seconds: float

    @property
    def fits(self) -> bool:
        return self.memory < self.free


@dataclass(frozen=True, slots=True)
class Point:
    step: int
    value: float


@dataclass(frozen=True, slots=True)
class Curves:
    """Series of a run: `loss` as trained, `heldout` loss, `rate` of learning, gradient `norm`."""

    loss: tuple[Point, ...] = ()
    heldout: tuple[Point, ...] = ()
    rate: tuple[Point, ...] = ()
    norm: tuple[Point, ...] = ()

    def smoothed(self, weight: float = 0.8) -> tuple[Point, ...]:
        """The loss as an exponential average, corrected for its start."""
        average, points = 0.0, []
        for count, point in enumerate(self.loss, 1):
            average = weight * average + (1 - weight) * point.value
            points.append(Point(point.step, average / (1 - weight**count)))
        return tuple(points)


@dataclass(frozen=True, slots=True)
class Run:
    """A run with all that its events tell."""

    view: JobView
    curves: Curves
    rows: Mapping[str, Any] = field(default_factory=dict)

    @property
    def job(self) -> Job:
        return self.view.job

    @property
    def model(self) -> str:
        return str(self.job.config.get("model", {}).get("name", ""))

    @property
    def data(self) -> str:
        return ", ".join(_short(source) for source in self.job.config.get("data", {}).get("sources", []))

    @property
    def loss(self) -> float | None:
        """The newest held-out loss, else the newest training loss."""
        points = self.curves.heldout or self.curves.loss
        return points[-1].value if points else None

    @property
    def artefact(self) -> str:
        return Path(self.job.published).name if self.job.published else ""


class Training:
    """Recipes and runs."""

    def __init__(self, host: Host, models: Models, jobs: Jobs) -> None:
        self.host = host
        self.models = models
        self.jobs = jobs

    def start(self, recipe: Recipe, name: str = "", key: str | None = None) -> Job:
        """Queue the run.

        Raises:
            CamelidError: the model or a dataset is not here, or the name cannot be used.
        """
        self.preflight(recipe)
        return self.jobs.submit(TASK, recipe, name, key)

    def preflight(self, recipe: Recipe) -> None:
        """Everything that would make the run fail at once.

        Raises:
            Invalid: naming the field.
        """
        self._at("model.name", lambda: self._base(recipe.model.name))
        self._at("data.sources", lambda: self._sources(recipe))
        if recipe.data.template:
            self._at("data.template", lambda: self.host.templates[recipe.data.template])

    def estimate(self, recipe: Recipe, data: Data) -> Estimate:
        """Raises CamelidError: a model or dataset that is not here."""
        self.preflight(recipe)
        shares = _shares(data, recipe)
        rows = sum(share.rows for share in shares)
        weight = rows or 1
        tokens = sum(share.rows * share.tokens for share in shares) / weight
        trained = sum(share.rows * share.trained for share in shares) / weight
        per_step = recipe.train.batch_size * recipe.train.accumulation
        steps = recipe.train.max_steps or math.ceil(math.ceil(rows / per_step) * recipe.train.epochs)
        seen = (
            min(steps * per_step, rows * max(1.0, recipe.train.epochs))
            if not recipe.train.max_steps
            else steps * per_step
        )
        speed = self._speed(recipe.model.name)
        return Estimate(
            rows=rows,
            steps=steps,
            tokens=int(seen * tokens),
            trained_tokens=int(seen * trained),
            truncated=max((share.over for share in shares), default=0.0),
            dropped=sum(share.rows * share.dropped for share in shares) / weight,
            memory=self._memory(recipe, tokens),
            free=describe().free,
            seconds=seen * tokens / speed if speed else 0.0,
        )

    def command(self, recipe: Recipe, name: str = "") -> str:
        line = command_line("camelid train", recipe)
        return f"{line} --name {name}" if name else line

    def all(self, limit: int = 50) -> list[Run]:
        return [self._run(view) for view in self.jobs.all(TASK, limit)]

    def show(self, job_id: int) -> Run:
        """Raises JobError: no such run."""
        return self._run(self.jobs.show(job_id))

    def recipe_of(self, job_id: int) -> Recipe:
        """A run's settings, to start another from."""
        return Recipe.model_validate(dict(self.jobs.store.get(job_id).config))

    def _run(self, view: JobView) -> Run:
        events = self.jobs.all_events(view.job.id)
        rows: Mapping[str, Any] = next((event for event in reversed(events) if event.get("kind") == "data"), {})
        return Run(view, curves(events), rows)

    def _base(self, name: str) -> None:
        if self.models.resolve(name).peft is not None:
            raise ModelError(f"{name!r} is an adapter; merge it first, then train the merged model.")

    def _sources(self, recipe: Recipe) -> None:
        for source in parse_sources(recipe.data.sources, self.host.datasets):
            missing = open_source(source.name, self.host.datasets).missing()
            if missing:
                raise DataError(f"{source.name}: {missing}")

    def _at(self, path: str, check: Any) -> None:
        from camelid_ui.fields import Invalid

        try:
            check()
        except CamelidError as error:
            raise Invalid(str(error), {path: str(error)}) from None

    def _speed(self, model: str) -> float:
        """Tokens per second of the newest finished run with this model here."""
        for view in self.jobs.all(TASK, 50):
            if view.job.summary.get("tokens_per_second") and view.job.config.get("model", {}).get("name") == model:
                return float(view.job.summary["tokens_per_second"])
        return 0.0

    def _memory(self, recipe: Recipe, tokens: float) -> int:
        """Weights, then per token of a batch what the backward pass keeps: about 16 numbers per layer and
        width, and three per word of the vocabulary for the loss."""
        base = self.models.resolve(recipe.model.name).base
        size = dimensions(base)
        short = recipe.model.dtype in ("bfloat16", "float16") or (recipe.model.dtype == "auto" and cpu_has_bf16())
        width = 2 if short else 4
        batch = recipe.train.batch_size * min(recipe.data.cutoff, tokens * 1.5)
        kept = 16 * size["layers"] * size["width"] * width + 3 * size["vocabulary"] * 4
        return int(parameters(base) * width + batch * kept) + (400 << 20)


def curves(events: Iterable[Mapping[str, Any]]) -> Curves:
    """The series in a run's events; where a resumed attempt went over a step again, its later value holds."""
    series: dict[str, dict[int, float]] = {"loss": {}, "heldout": {}, "rate": {}, "norm": {}}
    names = {
        "train": (("loss", "loss"), ("learning_rate", "rate"), ("grad_norm", "norm")),
        "eval": (("loss", "heldout"),),
    }
    for event in events:
        for key, name in names.get(str(event.get("kind")), ()):
            value = event.get(key)
            if isinstance(value, int | float):
                series[name][int(event.get("step", 0))] = float(value)
    return Curves(
        **{name: tuple(Point(step, points[step]) for step in sorted(points)) for name, points in series.items()}
    )


@dataclass(frozen=True, slots=True)
class _Share:
    """What one source gives: rows, the mean tokens and trained tokens of one, the shares that are cut and left out."""

    rows: int
    tokens: float
    trained: float
    over: float
    dropped: float


def _shares(data: Data, recipe: Recipe) -> list[_Share]:
    section = recipe.data
    entries = [
        data.collection.find(source.name) for source in parse_sources(section.sources, data.collection.host.datasets)
    ]
    held = -(-section.eval_rows // max(1, len(entries)))
    sizes = [entry.rows - (0 if entry.heldout else min(held, entry.rows // 10)) for entry in entries]
    shares = []
    for part in data.mixing.plan(section, sizes):
        lengths = data.lengths.known(part.name, recipe.model.name, section.template)
        cut, count = lengths.at(section.cutoff), max(1, lengths.rows)
        shares.append(
            _Share(
                rows=part.taken,
                tokens=cut.tokens / count,
                trained=cut.trained / count,
                over=lengths.over(section.cutoff) / count,
                dropped=cut.dropped / count,
            )
        )
    return shares


def _short(source: str) -> str:
    return Path(source).stem if "/" in source else source
