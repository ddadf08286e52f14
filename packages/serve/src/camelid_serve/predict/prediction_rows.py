"""Rows joined with their answers, one model's or several models': what the result says of each, and of all.

Knows the columns that are ours. Knows nothing of how rows were read or answered.

With one model a row has `generate` and, where there is a reference, `scores` by metric; with several, each of these is
an object by model. `error` is a sentence where the row could not be asked or its only model failed, and an object by
model where one of several did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from camelid_core.errors import UsageError

from camelid_serve.config import PredictConfig
from camelid_serve.json_lines import line_of
from camelid_serve.metrics import Means

from .inputs import PREDICTIONS, Row

OURS = ("generate", "error", "scores")
"""Columns of the result. One of that name in the input, from an earlier prediction perhaps, gives way."""
UNANSWERED = "not answered: the job was asked to finish early."

Result = Mapping[str, Any]


def asked(config: PredictConfig) -> list[str]:
    """The models that answer, in order."""
    return [config.model, *config.also]


def labels(names: Sequence[str]) -> dict[str, str]:
    """What a result calls each model → its name: without the directories before it where that is still clear.

    Raises:
        UsageError: one model twice.
    """
    short = Counter(_short(name) for name in names)
    found = {name if short[_short(name)] > 1 else _short(name): name for name in names}
    if len(found) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise UsageError(f"model {twice!r} is named twice; name each model once.")
    return found


def joined(row: Row, results: Mapping[str, Result]) -> dict[str, Any]:
    """The row as it came, with what the models made of it; `results` by model, empty for one that is yet to come."""
    fields = {name: value for name, value in row.fields.items() if name not in OURS}
    if row.error:
        return {**fields, "error": row.error}
    if len(results) == 1:
        only = next(iter(results.values()))
        return fields | {name: only[name] for name in OURS if name in only}
    ours = {name: {label: each[name] for label, each in results.items() if name in each} for name in OURS}
    return fields | {name: values for name, values in ours.items() if values}


def so_far(rows: Iterable[Row], done: Mapping[str, Mapping[int, Result]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbers and rows that are answered by one model at least, in input order."""
    for row in rows:
        results = {label: each.get(row.number, {}) for label, each in done.items()}
        if row.error or any(results.values()):
            yield row.number, joined(row, results)


def write_predictions(
    directory: Path,
    rows: Iterable[Row],
    done: Mapping[str, Mapping[int, Result]],
    failures: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The result in input order, and its figures: of one model, or by model under `models`. `failures` say of a model
    why it left rows unanswered."""
    figures = {label: _Figures() for label in done}
    count = failed = 0
    with (directory / PREDICTIONS).open("wb") as file:
        for row in rows:
            count = row.number
            results = {label: _of(each, row, (failures or {}).get(label, UNANSWERED)) for label, each in done.items()}
            for label, result in results.items():
                figures[label].add(result)
            failed += any("error" in result for result in results.values())
            file.write(line_of(joined(row, results)))
    if len(done) == 1:
        return {"rows": count, **next(iter(figures.values())).values()}
    return {"rows": count, "failed": failed, "models": {label: each.values() for label, each in figures.items()}}


def _of(done: Mapping[int, Result], row: Row, otherwise: str) -> Result:
    return {"error": row.error} if row.error else done.get(row.number, {"error": otherwise})


class _Figures:
    """Sums over the rows of one model."""

    def __init__(self) -> None:
        self._failed = self._tokens = self._cut = 0
        self._means = Means()

    def add(self, result: Result) -> None:
        self._failed += "error" in result
        self._tokens += result.get("tokens", 0)
        self._cut += result.get("finish") == "length"
        self._means.add(result.get("scores", {}))

    def values(self) -> dict[str, Any]:
        """`scored` says how many rows each mean is of."""
        means = self._means.values()
        scores = {"scores": means, "scored": dict(self._means.counts)} if means else {}
        return {"failed": self._failed, "tokens": self._tokens, "cut": self._cut, **scores}


def _short(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2] or name
