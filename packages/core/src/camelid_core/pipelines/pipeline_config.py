"""A pipeline as a file: its steps, what each runs, and which use the results of others.

Knows fields and references (`@train`). Knows no tasks and no jobs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from camelid_core.config import Config, apply_overrides, load, read_values
from camelid_core.errors import ConfigError, UnknownName
from camelid_core.paths import safe_name

_REFERENCE = re.compile(r"@([A-Za-z0-9][A-Za-z0-9_-]*)(/.*)?")


class Step(Config):
    """One job of a pipeline."""

    task: str
    """Task: train, merge, export, predict …, as in the names of jobs."""
    name: str = ""
    """Name of the step, by which others refer to its result: @NAME; empty is the task's."""
    config: dict[str, Any] | str = {}
    """Configuration of the task, or the path of a file that holds it, beside the pipeline's own."""
    set: list[str] = []
    """Overrides of that configuration: section.field=value."""
    after: list[str] = []
    """Steps that have to succeed first, beside those whose results it uses."""

    @property
    def label(self) -> str:
        return self.name or self.task

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration, which `read_pipeline` has read where it is a file's."""
        assert isinstance(self.config, dict)
        return self.config


class Pipeline(Config):
    """A pipeline: steps in order, each of which may use the results of those before it."""

    name: str
    """Name of the pipeline; results are called NAME-STEP."""
    steps: list[Step] = Field(min_length=1)
    """The steps, in the order in which they are run."""

    @model_validator(mode="after")
    def _one_name_each(self) -> Self:
        labels = [step.label for step in self.steps]
        for label in labels:
            safe_name(f"{self.name}-{label}", "name of pipeline and step")
            if labels.count(label) > 1:
                raise ValueError(f"two steps are called {label!r}; give one of them another `name`")
        return self


def read_pipeline(path: Path, overrides: Sequence[str]) -> Pipeline:
    """The pipeline in a file (.toml, .yaml, .json), with `step.field=value` overrides of its steps' configurations.

    Raises:
        ConfigError: it does not fit, or a step refers to one that does not come before it.
    """
    pipeline = load(Pipeline, path)
    steps = [step.model_copy(update={"config": _values(step, path.parent)}) for step in pipeline.steps]
    labels = [step.label for step in steps]
    for override in overrides:
        label, _, rest = override.partition(".")
        if label not in labels or not rest:
            raise ConfigError(f"{override!r} names no step; write STEP.field=value, STEP one of {', '.join(labels)}.")
        apply_overrides(steps[labels.index(label)].settings, [rest])
    for number, step in enumerate(steps):
        for needed in needed_by(step):
            if needed not in labels[:number]:
                raise UnknownName("step before it", needed, labels[:number])
    return pipeline.model_copy(update={"steps": steps})


def needed_by(step: Step) -> list[str]:
    """The steps that have to succeed before this one: those it names, and those whose results it uses."""
    return list(dict.fromkeys([*step.after, *_references(step.config)]))


def with_results(values: Any, result: Callable[[str], str]) -> Any:
    """A configuration in which each `@STEP` and `@STEP/path` is replaced by `result(STEP)`; `@@` is a plain `@`."""
    if isinstance(values, Mapping):
        return {key: with_results(value, result) for key, value in values.items()}
    if isinstance(values, list):
        return [with_results(value, result) for value in values]
    if not isinstance(values, str):
        return values
    found = _REFERENCE.fullmatch(values)
    return result(found[1]) + (found[2] or "") if found else values.removeprefix("@") if values[:2] == "@@" else values


def _references(values: Any) -> Iterator[str]:
    found: list[str] = []
    with_results(values, lambda name: found.append(name) or "")  # type: ignore[func-returns-value]
    return iter(found)


def _values(step: Step, directory: Path) -> dict[str, Any]:
    values = read_values(directory / step.config) if isinstance(step.config, str) else dict(step.config)
    apply_overrides(values, step.set)
    return values
