"""Training runs: what a recipe would do, starting one, and how each goes.

Knows recipes, jobs and the events a training task emits. Trains nothing itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from camelid_core.datasets import Source, open_source
from camelid_core.devices import cpu_has_bf16, describe
from camelid_core.errors import CamelidError, ConfigError, ModelError
from camelid_core.jobs import Job
from camelid_core.plugins import Host
from camelid_train.config import Recipe

from camelid_ui.fields import command_line

from .data import Collection
from .jobs import Jobs, JobView
from .models import Models, dimensions, parameters

TASK = "train"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a recipe will take. Bytes and seconds are rough; `seconds` is 0 where nothing similar ran here yet."""

    rows: int
    steps: int
    tokens: int
    trained_tokens: int
    truncated: float
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

    def estimate(self, recipe: Recipe, collection: Collection) -> Estimate:
        """Raises CamelidError: a model or dataset that is not here."""
        self.preflight(recipe)
        counts = [_share(collection, source, recipe) for source in map(Source.parse, recipe.data.sources)]
        rows = sum(count for count, _, _ in counts)
        rows = min(rows, recipe.data.rows or rows)
        weight = sum(count for count, _, _ in counts) or 1
        tokens = sum(count * length for count, length, _ in counts) / weight
        trained = sum(count * length for count, _, length in counts) / weight
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
            truncated=self._truncated(recipe, collection),
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
        if not recipe.data.sources:
            raise ConfigError("Choose at least one dataset.")
        for text in recipe.data.sources:
            open_source(Source.parse(text).name, self.host.datasets)

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

    def _truncated(self, recipe: Recipe, collection: Collection) -> float:
        shares = []
        for source in map(Source.parse, recipe.data.sources):
            lengths = collection.lengths(_named(collection, source.name), recipe.model.name, recipe.data.template)
            shares.append(lengths.over(recipe.data.cutoff) / max(1, len(lengths.tokens)))
        return max(shares, default=0.0)

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


def _share(collection: Collection, source: Source, recipe: Recipe) -> tuple[int, float, float]:
    """Rows a source gives, and the mean tokens and trained tokens of one."""
    entry = collection.show(_named(collection, source.name))
    held = 0 if entry.heldout else min(recipe.data.eval_rows, entry.rows // 10)
    rows = min(entry.rows - held, recipe.data.rows or entry.rows)
    lengths = collection.lengths(entry.name, recipe.model.name, recipe.data.template)
    count = max(1, len(lengths.tokens))
    cut = recipe.data.cutoff
    return int(rows * source.weight), sum(min(n, cut) for n in lengths.tokens) / count, sum(lengths.trained) / count


def _named(collection: Collection, source: str) -> str:
    """The collection's name for what a recipe calls `source`."""
    return next((entry.name for entry in collection.all() if source in (entry.name, entry.source)), source)


def _short(source: str) -> str:
    return Path(source).stem if "/" in source else source
