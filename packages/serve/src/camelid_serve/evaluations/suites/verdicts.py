"""Scores that another program found: tests of generated code, or a judge. Camelid runs no code that a model wrote.

Three forms, as JSON or JSON Lines: `task_id` and `passed`, several rows for one task (human-eval's results: pass@k);
`preference` from 1 (the reference) to 2 (the model), or `win` from 0 to 1 (AlpacaEval's annotations: win rate); and C,
Q and S (a judge's reply) or X (its score), as Alpaca-CoT's score.py writes them. Knows those files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from camelid_core.errors import DataError
from camelid_core.statistics.pass_at_k import pass_at_k

from camelid_serve.evaluations.evaluation import Measure
from camelid_serve.evaluations.score_table import Column

from .belle import judged_score
from .prompts import json_rows
from .suite import SuiteTask

MEASURE = "score"


def imported_column(task: SuiteTask, files: Path, models: list[str]) -> Column:
    """The scores of each model that has a file. A row without a score is skipped and counted."""
    rows: dict[str, list[dict[str, Any]]] = {}
    skipped: dict[str, int] = {}
    missing = []
    for model in models:
        path = files / task.file.replace("{model}", model)
        if not path.is_file():
            missing.append(str(path))
            continue
        found = _scored(json_rows(path), int(task.settings.get("k", 1)), path)
        rows[model] = [row for row in found if "scores" in row]
        if len(found) > len(rows[model]):
            skipped[f"no score in {path.name}"] = len(found) - len(rows[model])
    note = f"no verdicts of another program in {', '.join(missing)}" if missing else ""
    measures = (Measure(MEASURE, task.help or "Score found by another program."),)
    return Column(task.name, task.help, measures, rows, task.file, skipped, note)


def _scored(rows: list[dict[str, Any]], k: int, path: Path) -> list[dict[str, Any]]:
    if rows and all("passed" in row and "task_id" in row for row in rows):
        return _passes(rows, k)
    if rows and all("win" in row or "preference" in row for row in rows):
        return [
            _entry(str(row.get("id", row.get("instruction", at))), "", _win(row, path)) for at, row in enumerate(rows)
        ]
    if rows and all("C" in row and ("X" in row or "S" in row) for row in rows):
        return [_entry(f"belle-{at}", str(row["C"]), _judged(row)) for at, row in enumerate(rows)]
    raise DataError(
        f"{str(path)!r} has none of the known forms: task_id and passed; win or preference; or C with S or X."
    )


def _passes(rows: list[dict[str, Any]], k: int) -> list[dict[str, Any]]:
    tries: dict[str, list[bool]] = {}
    for row in rows:
        tries.setdefault(str(row["task_id"]), []).append(row["passed"] is True)
    return [_entry(name, "", pass_at_k(len(each), sum(each), k)) for name, each in tries.items()]


def _win(row: Mapping[str, Any], path: Path) -> float | None:
    value = (
        row["win"] if "win" in row else row["preference"] - 1 if isinstance(row["preference"], int | float) else None
    )
    if value is not None and not 0 <= value <= 1:
        raise DataError(f"{str(path)!r} has a win of {value!r}; it is from 0 to 1, and a preference from 1 to 2.")
    return None if value is None else float(value)


def _judged(row: Mapping[str, Any]) -> float | None:
    given = row.get("X")
    if isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given <= 1:
        return float(given)
    return judged_score(str(row.get("S") or ""))


def _entry(name: str, group: str, score: float | None) -> dict[str, Any]:
    return {"id": name, "group": group} | ({} if score is None else {"scores": {MEASURE: score}})
