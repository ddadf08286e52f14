"""Input rows merged with the answers of one or several models, and the metrics over all rows.

Knows how results stand in a row. Knows nothing of how rows were read or answered.

With one model a row has `generate` and, where there is a gold answer, `scores` by metric; with several, each of these
is an object by model. `error` is a sentence where the row is invalid or its only model failed, and an object by model
where one of several did. Where the input has a column of such a name, the result's has another (`result_columns`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from camelid_core.errors import UsageError
from camelid_core.statistics.holm import corrected

from camelid_serve.config import PredictConfig
from camelid_serve.json_lines import to_json_line
from camelid_serve.metrics import ScoreDifferences, ScoreMeans

from .inputs import PREDICTIONS, InputRow
from .result_columns import RESULT_COLUMNS, SAME_NAMES, renamed

NOT_ANSWERED = "not answered: the job was asked to finish early."

Result = Mapping[str, Any]


def model_names(config: PredictConfig) -> list[str]:
    """The models that answer, in order."""
    return [config.model, *config.also]


def model_labels(names: Sequence[str]) -> dict[str, str]:
    """Label of each model in the result → its name: the last part of the path where that is unique.

    Raises:
        UsageError: one model twice.
    """
    short = Counter(_last_part(name) for name in names)
    found = {name if short[_last_part(name)] > 1 else _last_part(name): name for name in names}
    if len(found) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise UsageError(f"model {twice!r} is named twice; name each model once.")
    return found


def merge_results(
    row: InputRow, results: Mapping[str, Result], columns: Mapping[str, str] = SAME_NAMES
) -> dict[str, Any]:
    """The input row with the result columns; `results` by model, empty for a model that has not answered yet;
    `columns` names the result columns so that they replace none of the input's."""
    if row.error:
        return {**row.fields, columns["error"]: row.error}
    if len(results) == 1:
        only = next(iter(results.values()))
        return {**row.fields, **{columns[name]: only[name] for name in RESULT_COLUMNS if name in only}}
    added = {name: {label: each[name] for label, each in results.items() if name in each} for name in RESULT_COLUMNS}
    return {**row.fields, **{columns[name]: values for name, values in added.items() if values}}


def answered_rows(
    rows: Iterable[InputRow], done: Mapping[str, Mapping[int, Result]], columns: Mapping[str, str] = SAME_NAMES
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbers and rows that at least one model has answered, in input order."""
    for row in rows:
        results = {label: each.get(row.number, {}) for label, each in done.items()}
        if row.error or any(results.values()):
            yield row.number, merge_results(row, results, columns)


def write_predictions(
    directory: Path,
    rows: Iterable[InputRow],
    done: Mapping[str, Mapping[int, Result]],
    failures: Mapping[str, str] | None = None,
    columns: Mapping[str, str] = SAME_NAMES,
) -> dict[str, Any]:
    """The result in input order, and its totals: of one model, or by model under `models`, with paired `differences`
    from the first model. `failures` say of a model why it left rows unanswered."""
    totals = {label: _ModelTotals() for label in done}
    baseline, *others_than_it = done
    paired = {label: ScoreDifferences() for label in others_than_it}
    count = failed = 0
    with (directory / PREDICTIONS).open("wb") as file:
        for row in rows:
            count = row.number
            results = {
                label: _result_of(each, row, (failures or {}).get(label, NOT_ANSWERED)) for label, each in done.items()
            }
            for label, result in results.items():
                totals[label].add(result)
            for label, each in paired.items():
                each.add(results[label].get("scores", {}), results[baseline].get("scores", {}))
            failed += any("error" in result for result in results.values())
            file.write(to_json_line(merge_results(row, results, columns)))
    named = {"columns": others} if (others := renamed(columns)) else {}
    if len(done) == 1:
        return {"rows": count, **next(iter(totals.values())).values(), **named}
    return {
        "rows": count,
        "failed": failed,
        **named,
        "models": {label: each.values() for label, each in totals.items()},
        **_differences(paired, baseline),
    }


def _differences(paired: Mapping[str, ScoreDifferences], baseline: str) -> dict[str, Any]:
    """By model and metric, corrected over all of them; nothing where no row has scores of both."""
    found = [(label, name, each) for label, sums in paired.items() for name, each in sums.differences().items()]
    if not found:
        return {}
    table: dict[str, dict[str, Any]] = {}
    for (label, name, _), each in zip(found, corrected([each for *_, each in found]), strict=True):
        table.setdefault(label, {})[name] = each.as_json()
    return {"baseline": baseline, "differences": table}


def _result_of(done: Mapping[int, Result], row: InputRow, otherwise: str) -> Result:
    return {"error": row.error} if row.error else done.get(row.number, {"error": otherwise})


class _ModelTotals:
    """Metrics over the rows of one model."""

    def __init__(self) -> None:
        self._failed = self._tokens = self._truncated = 0
        self._means = ScoreMeans()

    def add(self, result: Result) -> None:
        self._failed += "error" in result
        self._tokens += result.get("tokens", 0)
        self._truncated += result.get("finish") == "length"
        self._means.add(result.get("scores", {}))

    def values(self) -> dict[str, Any]:
        means = self._means.estimates()
        scores = {"scores": {name: each.as_json() for name, each in means.items()}} if means else {}
        return {"failed": self._failed, "tokens": self._tokens, "cut": self._truncated, **scores}


def _last_part(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2] or name
