"""What a person asked for → evaluations with their data: tasks by name, or a suite and the columns of its table.

Knows names, the hook and suites. Knows nothing of models and answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from camelid_core.datasets.sources import open_dataset
from camelid_core.errors import CamelidError, UsageError
from camelid_core.plugins import Host

from .evaluation import Evaluation
from .evaluation_source import from_source
from .score_config import ScoreConfig, split_task
from .score_table import Column
from .suites.average import average_column
from .suites.builders import VERDICTS, evaluation_of
from .suites.suite import Suite, SuiteColumn, SuiteTask, open_suite
from .suites.verdicts import imported_column

HOOK = "camelid_evaluations"


@dataclass(frozen=True)
class ChosenEvaluation:
    """An evaluation and the data it takes its items from."""

    evaluation: Evaluation
    data: str
    licence: str = "unknown"

    @property
    def shown_data(self) -> str:
        return Path(self.data).name if Path(self.data).is_absolute() else self.data


@dataclass(frozen=True)
class Chosen:
    """The evaluations that models are asked, and how their columns become the table. `absent` are columns of a suite's
    tasks that have no files, with the reason."""

    evaluations: Sequence[ChosenEvaluation]
    suite: Suite | None = None
    files: Path = Path()
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def imported(self) -> list[SuiteTask]:
        """Tasks whose scores another program found."""
        return [task for task in self.suite.task if task.builder == VERDICTS] if self.suite else []

    def columns(self, measured: Sequence[Column], models: Sequence[str]) -> list[Column]:
        """The columns of the table, of what was measured."""
        if self.suite is None:
            return list(measured)
        read = [imported_column(task, self.files, list(models)) for task in self.imported]
        by_task = {column.name: column for column in (*measured, *read)}
        return [self._suite_column(column, by_task.get(column.task)) for column in self.suite.column]

    def _suite_column(self, column: SuiteColumn, found: Column | None) -> Column:
        if found is None:
            return Column(column.name, "", (), {}, note=self.absent.get(column.task, "it was not measured"))
        measures = [each for each in found.measures if each.name == (column.measure or found.measures[0].name)]
        if not measures:
            raise UsageError(f"column {column.name!r}: task {column.task!r} has no measure {column.measure!r}.")
        parts = {name.casefold() for name in column.group}
        rows = {
            model: [row for row in rows if not parts or str(row.get("group", "")).casefold() in parts]
            for model, rows in found.rows.items()
        }
        note = found.note
        if parts and found.rows and not any(rows.values()):
            there = sorted({str(row.get("group", "")) for each in found.rows.values() for row in each})
            note = f"no item is of {' or '.join(column.group)}; there are {', '.join(there[:12]) or 'none'}"
        return replace(found, name=column.name, measures=measures, rows=rows, note=note)

    def finished(self, results: dict[str, Any]) -> dict[str, Any]:
        """The results with the suite's average."""
        if self.suite is None:
            return results
        more = [average_column(results, self.suite.benchmark)] if self.suite.benchmark else []
        return {**results, "suite": self.suite.name, "columns": [*results["columns"], *more]}


def chosen_evaluations(config: ScoreConfig, host: Host) -> Chosen:
    """Raises:
    UnknownName: no such evaluation, dataset or suite.
    UsageError: an evaluation without data, or a suite without a directory of files.
    """
    return _of_suite(config) if config.suite else Chosen(_of_tasks(config, host))


def _of_tasks(config: ScoreConfig, host: Host) -> list[ChosenEvaluation]:
    known = host.registry(HOOK)
    found = []
    for name, data in map(split_task, config.tasks):
        evaluation: Evaluation = from_source(name, data, host) or known[name]
        if not (data or evaluation.data):
            raise UsageError(f"evaluation {name!r} needs data; name a dataset or a file: --task {name}=rows.jsonl.")
        chosen = data or evaluation.data
        found.append(ChosenEvaluation(evaluation, chosen, _licence(chosen, host)))
    twice = Counter(each.evaluation.name for each in found)
    named = [each if twice[each.evaluation.name] == 1 else _with_data_in_name(each) for each in found]
    if len({each.evaluation.name for each in named}) < len(named):
        raise UsageError("an evaluation is named twice with the same data; name each once.")
    return named


def _with_data_in_name(chosen: ChosenEvaluation) -> ChosenEvaluation:
    name = f"{chosen.evaluation.name} {Path(chosen.data).stem}"
    return replace(chosen, evaluation=replace(chosen.evaluation, name=name))


def _licence(data: str, host: Host) -> str:
    try:
        return open_dataset(data, host.datasets).licence
    except CamelidError:
        return "unknown"  # a directory, say: the evaluation itself says what is wrong with it


def _of_suite(config: ScoreConfig) -> Chosen:
    suite = open_suite(config.suite)
    if not config.files:
        wanted = "\n".join(f"  {task.file}: {task.help}" for task in suite.task)
        raise UsageError(f"suite {suite.name!r} reads files; name their directory with --files. It looks for\n{wanted}")
    files = Path(config.files)
    found, absent = [], {}
    for task in suite.task:
        if task.builder == VERDICTS:
            continue
        if (files / task.file).exists():
            found.append(ChosenEvaluation(evaluation_of(task), str(files / task.file)))
        else:
            absent[task.name] = f"there is no {task.file!r} in the directory of files"
    return Chosen(found, suite, files, absent)
