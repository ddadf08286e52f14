"""Scores of models on evaluations → a table of estimates and paired differences: JSON, for a terminal, as Markdown.

Knows rows of items and statistics. Knows no models and no engines. All differences of the table's first measures are
corrected together (Holm), and so are those of all others: they are read as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from camelid_core.statistics import Difference, Estimate
from camelid_core.statistics.holm import corrected
from camelid_core.statistics.scores import Scores, difference, estimate

from .evaluation import Measure
from .item_files import scores_in

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Column:
    """One evaluation: its measures, and the items of each model (those that are not there were not measured)."""

    name: str
    help: str
    measures: Sequence[Measure]
    rows: Mapping[str, Rows]
    data: str = ""
    skipped: Mapping[str, int] = field(default_factory=Counter)
    note: str = ""


def table(columns: Sequence[Column], models: Sequence[str], baseline: str) -> dict[str, Any]:
    """The whole table as JSON values."""
    found = [(column, measure, _scores(column, measure)) for column in columns for measure in column.measures]
    differences = _differences(found, baseline)
    return {
        "models": list(models),
        "baseline": baseline,
        "columns": [_column(column, found, differences, models) for column in columns],
    }


def _scores(column: Column, measure: Measure) -> dict[str, Scores]:
    each = {model: scores_in([rows], measure.name, measure.share) for model, rows in column.rows.items()}
    return {model: scores for model, scores in each.items() if scores is not None}


Found = Sequence[tuple[Column, Measure, dict[str, Scores]]]
Key = tuple[str, str, str]


def _differences(found: Found, baseline: str) -> dict[Key, Difference]:
    """Of each model from the baseline, by column, measure and model; the first measures corrected apart from others."""
    results: dict[Key, Difference] = {}
    for first in (True, False):
        pairs = {
            (column.name, measure.name, model): difference(scores, by_model[baseline])
            for column, measure, by_model in found
            for model, scores in by_model.items()
            if (measure is column.measures[0]) == first
            and model != baseline
            and _paired(scores, by_model.get(baseline))
        }
        results.update(zip(pairs, corrected(list(pairs.values())), strict=True))
    return results


def _paired(scores: Scores, others: Scores | None) -> bool:
    return others is not None and not set(scores.ids).isdisjoint(others.ids)


def _column(
    column: Column, found: Found, differences: Mapping[Key, Difference], models: Sequence[str]
) -> dict[str, Any]:
    measures = []
    for measure in column.measures:
        by_model = next(scores for of, each, scores in found if of is column and each is measure)
        gaps = {model: differences.get((column.name, measure.name, model)) for model in models}
        measures.append(
            {
                "name": measure.name,
                "help": measure.help,
                "better": measure.better,
                "estimates": {model: estimate(by_model[model]).as_json() for model in models if model in by_model},
                "differences": {
                    model: {**gap.as_json(), "verdict": _verdict(gap, measure)}
                    for model, gap in gaps.items()
                    if gap is not None
                },
            }
        )
    failed = {model: sum("error" in row for row in rows) for model, rows in column.rows.items()}
    return {
        "name": column.name,
        "help": column.help,
        "data": column.data,
        "items": max((len(rows) for rows in column.rows.values()), default=0),
        "skipped": dict(column.skipped),
        "failed": {model: count for model, count in failed.items() if count},
        "note": column.note,
        "measures": measures,
    }


def _verdict(gap: Difference, measure: Measure) -> str:
    if measure.better == "neither":
        return "different" if gap.excludes_zero else "undecided"
    return gap.verdict(measure.better == "higher")


def shown_rows(results: Mapping[str, Any], every: bool = False) -> list[dict[str, str]]:
    """For a terminal: a row for each model, and under each but the baseline its differences; with `every` a column for
    each measure, else only for the first of each evaluation."""
    heads = list(_heads(results, every))
    rows = []
    for model in results["models"]:
        cells = {head: _estimate_cell(measure, model) for head, measure in heads}
        rows.append({"model": model + (" (baseline)" if model == results["baseline"] else ""), **cells})
        if model != results["baseline"]:
            gaps = {head: _difference_cell(measure, model) for head, measure in heads}
            rows.append({"model": "  minus the baseline", **gaps})
    return rows


def _heads(results: Mapping[str, Any], every: bool) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for column in results["columns"]:
        measures = column["measures"] or [{"estimates": {}, "differences": {}}]
        for number, measure in enumerate(measures if every else measures[:1]):
            yield column["name"] if number == 0 else f"{column['name']}: {measure['name']}", measure


def _estimate_cell(measure: Mapping[str, Any], model: str) -> str:
    value = measure["estimates"].get(model)
    return "-" if value is None else str(Estimate.from_json(value))


def _difference_cell(measure: Mapping[str, Any], model: str) -> str:
    value = measure["differences"].get(model)
    return "-" if value is None else f"{Difference.from_json(value)}: {value['verdict']}"


def notes(results: Mapping[str, Any]) -> list[str]:
    """What was skipped, what failed, what was not measured, and how many items would decide what is undecided."""
    lines = []
    for column in results["columns"]:
        name = column["name"]
        if column["note"]:
            lines.append(f"{name}: {column['note']}")
        if column["skipped"]:
            reasons = "; ".join(f"{count:,}: {reason}" for reason, count in column["skipped"].items())
            lines.append(f"{name}: {sum(column['skipped'].values()):,} rows are no items ({reasons}).")
        for model, count in column["failed"].items():
            lines.append(f"{name}: {model} did not answer {count:,} of {column['items']:,} items; they have no score.")
        for model, gap in column["measures"][0]["differences"].items() if column["measures"] else ():
            if gap["verdict"] == "undecided" and gap.get("rows_needed"):
                lines.append(
                    f"{name}: {model} is undecided; about {gap['rows_needed']:,} items would show a difference as "
                    "large as this one, if it is there."
                )
    return lines


def markdown(results: Mapping[str, Any]) -> str:
    """The table and its notes as a section of a card or report."""
    rows = shown_rows(results)
    heads = list(rows[0])
    lines = [
        "## Evaluation",
        "",
        f"| {' | '.join(heads)} |",
        f"| {' | '.join('---' for _ in heads)} |",
        *(f"| {' | '.join(value.replace('|', chr(92) + '|') for value in row.values())} |" for row in rows),
        "",
        "Intervals: 95 %. Differences are paired item by item; p values are corrected for the table (Holm).",
        *(["", *(f"- {note}" for note in notes(results))] if notes(results) else []),
    ]
    return "\n".join(lines) + "\n"
