"""What a suite is: tasks (which builder makes their items, of which files, with which texts), columns (which task,
measure and part stand where) and benchmarks (which columns are averaged first). A suite is a TOML file; its prompts and
rules stand there, where they can be read and changed.

Knows fields and their bounds. Knows nothing of models or items.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Self

from camelid_core.config import Config, load
from camelid_core.errors import UnknownName
from pydantic import Field, model_validator

FOLDER = Path(__file__).parent


class SuiteTask(Config):
    """One evaluation of a suite."""

    name: str
    """Name of the evaluation."""
    builder: str
    """What makes items of its files: mmlu, gsm, bbh, tydiqa, belle or mmcu; or `verdicts`, whose scores another program
    found."""
    file: str
    """File or directory with its rows, below the directory of the suite's files; `{model}` is the model's label."""
    help: str = ""
    """One line on what is asked and how it is scored."""
    settings: dict[str, Any] = {}
    """Prompts, numbers of examples and samples, and whatever else its builder reads."""
    sampling: dict[str, Any] = {}
    """Sampling parameters that differ from greedy decoding."""


class SuiteColumn(Config):
    """One column of the table."""

    name: str
    """Head of the column."""
    task: str
    """Name of the task whose items it shows."""
    measure: str = ""
    """Which measure; empty takes the task's first."""
    group: list[str] = []
    """Only items of a part that has one of these names, such as a subject, in any case; empty takes all."""


class Benchmark(Config):
    """Columns that are averaged before the average of all: each benchmark counts once, however many columns it has."""

    name: str
    """Name of the benchmark."""
    columns: list[str] = Field(min_length=1)
    """Heads of its columns."""


class Suite(Config):
    """A suite of evaluations."""

    name: str
    """Name of the suite."""
    help: str
    """What it is, and where its prompts and rules come from."""
    task: list[SuiteTask] = Field(min_length=1)
    """Its tasks."""
    column: list[SuiteColumn] = Field(min_length=1)
    """The columns of its table, in order."""
    benchmark: list[Benchmark] = []
    """What the average is of; without any there is no average."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        tasks, columns = [each.name for each in self.task], [each.name for each in self.column]
        for what, names in (("tasks", tasks), ("columns", columns)):
            if twice := [name for name, count in Counter(names).items() if count > 1]:
                raise ValueError(f"two {what} are called {twice[0]!r}")
        if unknown := [each.task for each in self.column if each.task not in tasks]:
            raise ValueError(f"a column shows task {unknown[0]!r}, and there is none; tasks: {', '.join(tasks)}")
        if unknown := [name for each in self.benchmark for name in each.columns if name not in columns]:
            raise ValueError(f"a benchmark has column {unknown[0]!r}, and there is none; columns: {', '.join(columns)}")
        return self


def builtin_suites() -> dict[str, Path]:
    """Name → file of the suites that come with Camelid."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


def open_suite(name: str) -> Suite:
    """A suite that comes with Camelid, or that of a TOML file.

    Raises:
        UnknownName: there is none of that name.
        ConfigError: the file does not fit.
    """
    known = builtin_suites()
    path = known.get(name) or Path(name)
    if not path.is_file():
        raise UnknownName("suite", name, known)
    return load(Suite, path)
