"""Sweeps: one run for every combination of settings, and the results side by side.

Each run is a step of a pipeline in which no step needs another: so a sweep that was stopped goes on where it was.
Knows recipes and their overrides. Knows nothing of training.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from camelid_core.errors import UsageError
from camelid_core.jobs.job import Job
from camelid_core.pipelines.pipeline_config import Step
from camelid_core.statistics import number_text, shown_values
from camelid_core.statistics.holm import corrected

from camelid_train.config import Recipe, plain_name
from camelid_train.monitoring.heldout_rows import paired, read_rows

MAX_RUNS = 500
_MAX_LABEL = 40
_METRICS = ("eval_loss", "base_eval_loss", "final_loss", "steps", "seconds")


def sweep_steps(recipe: Recipe, sweeps: Sequence[str]) -> list[Step]:
    """A step for every combination of the values in `sweeps`, each of which is `section.field=value,value`.

    Raises:
        UsageError: no values, a field twice, or too many runs.
        ConfigError: a combination does not fit.
    """
    fields = [_values(text) for text in sweeps]
    names = [name for name, _ in fields]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"{twice[0]!r} is swept twice; write all of its values in one --sweep.")
    combinations = list(product(*(values for _, values in fields)))
    if len(combinations) > MAX_RUNS:
        raise UsageError(f"{len(combinations):,} combinations are too many for one sweep; at most {MAX_RUNS} are run.")
    runs = [[f"{name}={value}" for name, value in zip(names, values, strict=True)] for values in combinations]
    labels = [_label(overrides) for overrides in runs]
    short = len(set(labels)) == len(runs) and max(map(len, labels)) <= _MAX_LABEL
    return [
        _step(recipe, overrides, label if short else f"run-{number}")
        for number, (overrides, label) in enumerate(zip(runs, labels, strict=True), 1)
    ]


def _label(overrides: Sequence[str]) -> str:
    """`learning_rate-0.0001-r-8`"""
    parts = (text.partition("=") for text in overrides)
    return plain_name("-".join(f"{name.rpartition('.')[2]}-{value}" for name, _, value in parts), "run")


def _step(recipe: Recipe, overrides: list[str], label: str) -> Step:
    """One run. Where the recipe says where the result goes, each goes beside that."""
    config = recipe.with_overrides(overrides)
    if config.train.output:
        train = config.train.model_copy(update={"output": f"{config.train.output}-{label}"})
        config = config.model_copy(update={"train": train})
    return Step(task="train", name=label, config=config.model_dump(mode="json"), set=overrides)


def compared(steps: Sequence[Step], jobs: Mapping[str, Job]) -> list[dict[str, Any]]:
    """A row for each run: its settings, what was measured, and on how many held-out rows; the lowest held-out loss
    first, runs without one last. `difference` is the paired difference in held-out loss from the first row, over the
    rows that both runs measured, corrected over the table; None where there is none."""
    rows = [_row(step, jobs.get(step.label)) for step in steps]
    rows.sort(key=lambda row: (row["eval_loss"] == "", row["eval_loss"] or 0.0))
    losses = [_losses(step_job) for step_job in (_job_of(row, jobs) for row in rows)]
    found = [None if number == 0 else paired(each, losses[0]) for number, each in enumerate(losses)]
    tested = iter(corrected([each for each in found if each is not None]))
    return [
        row | {"difference": None if each is None else next(tested).as_json()}
        for row, each in zip(rows, found, strict=True)
    ]


def shown(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same for people: losses and differences with their intervals."""
    return [
        {**dict(shown_values(row)), "difference": number_text(row["difference"]) or ("" if number else "lowest")}
        for number, row in enumerate(rows)
    ]


def _job_of(row: Mapping[str, Any], jobs: Mapping[str, Job]) -> Job | None:
    return next((job for job in jobs.values() if str(job.id) == row["job"]), None)


def _losses(job: Job | None) -> dict[str, tuple[float, int]]:
    return read_rows(Path(job.published)) if job and job.published else {}


def _row(step: Step, job: Job | None) -> dict[str, Any]:
    settings = dict(text.split("=", 1) for text in step.set)
    summary = job.summary if job else {}
    metrics = {name: _rounded(summary.get(name)) for name in _METRICS}
    rows = summary.get("heldout_rows", "")
    state = str(job.state) if job else "not run"
    estimate = {"eval_loss_estimate": found} if (found := summary.get("eval_loss_estimate")) else {}
    return {**settings, **metrics, **estimate, "heldout_rows": rows, "job": str(job.id) if job else "", "state": state}


def _rounded(value: Any) -> Any:
    return "" if value is None else round(value, 5) if isinstance(value, float) else value


def _values(text: str) -> tuple[str, list[str]]:
    """`method.r=8,16` → the field, and its values as they would be written in an override."""
    name, equals, listed = text.partition("=")
    values = _split(listed)
    if not equals or not name.strip() or len(values) < 2:
        raise UsageError(f"{text!r} is no sweep; write section.field=value,value, as train.learning_rate=1e-4,3e-4.")
    if len(set(values)) < len(values):
        raise UsageError(f"{text!r} has a value twice; each is run once.")
    return name.strip(), values


def _split(text: str) -> list[str]:
    """The values between commas as overrides have them: read as TOML where they are, else as texts."""
    try:
        return [json.dumps(value) for value in tomllib.loads(f"value = [{text}]")["value"]]
    except tomllib.TOMLDecodeError:
        return [part.strip() for part in text.split(",") if part.strip()]
