"""Prediction table: counts, filters and orders the rows of a prediction, with mean scores.

Knows the columns of a result, and of each row only its score and whether it failed. Knows no files.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from camelid_core.statistics import Difference, Estimate
from camelid_core.statistics.holm import corrected
from camelid_serve.metrics import ScoreDifferences, ScoreMeans
from camelid_serve.predict.inputs import ANSWER_COLUMNS
from camelid_serve.predict.result_columns import SAME_NAMES

RowSelection = Literal["all", "failed", "worst"]
"""All rows in the input's order; only those with an error; or all with scores, the lowest first."""
PAGE_ROWS = 50
"""Rows on a page."""
_ROW_ANSWERED, _ROW_FAILED = 1, 2

NumberedRow = tuple[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class PredictionPage:
    """One page of numbered `rows`, from the `start`-th of `matching` on; `means` are the mean scores so far, by
    model where there are several, and `differences` their paired differences from the first model once all is
    there; `finished` if no more rows will come; `reference` is the column of the reference answers and `question`
    that of the prompts, where a person named them; `columns` names the result's columns in a row."""

    count: int = 0
    failed: int = 0
    rows: Sequence[NumberedRow] = ()
    start: int = 0
    matching: int = 0
    means: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    differences: Mapping[str, Mapping[str, Difference]] = field(default_factory=dict)
    finished: bool = False
    reference: str = ""
    question: str = ""
    columns: Mapping[str, str] = field(default_factory=lambda: SAME_NAMES)


class PredictionTable:
    """State and score of each row, to count and sort by. Rows come in any order, each from every model."""

    def __init__(self) -> None:
        self.count = self.failed = 0
        self._state = bytearray()
        self._quality = array("f")
        self._means: dict[str, ScoreMeans] = {}
        self._differences: dict[str, ScoreDifferences] = {}
        self._orders: dict[RowSelection, Any] = {}

    @property
    def means(self) -> dict[str, dict[str, Estimate]]:
        return {model: each.estimates() for model, each in self._means.items()}

    @property
    def differences(self) -> dict[str, dict[str, Difference]]:
        """By model and metric, from the first model, over the rows that were added with the scores of both; corrected
        over all of them."""
        found = [
            (model, name, each)
            for model, sums in self._differences.items()
            for name, each in sums.differences().items()
        ]
        table: dict[str, dict[str, Difference]] = {}
        for (model, name, _), each in zip(found, corrected([each for *_, each in found]), strict=True):
            table.setdefault(model, {})[name] = each
        return table

    def add(self, number: int, failed: bool, scores: Mapping[str, Mapping[str, float]]) -> None:
        """`scores` by model. Of several models the lowest score counts."""
        if number >= len(self._state):
            more = max(number + 1, len(self._state) * 5 // 4) - len(self._state)
            self._state.extend(bytes(more))
            self._quality.extend([float("nan")] * more)
        before = self._state[number]
        self._state[number] = max(before, _ROW_FAILED if failed else _ROW_ANSWERED)
        self.count += not before
        self.failed += failed and before != _ROW_FAILED
        for model, each in scores.items():
            self._means.setdefault(model, ScoreMeans()).add(each)
            found = _sort_score(each)
            if not self._quality[number] <= found:
                self._quality[number] = found
        if len(scores) > 1:
            (_, baseline), *others = scores.items()
            for model, each in others:
                self._differences.setdefault(model, ScoreDifferences()).add(each, baseline)
        self._orders.clear()

    def matching(self, selection: RowSelection) -> int:
        return len(self._order(selection))

    def page(self, selection: RowSelection, start: int) -> list[int]:
        """Numbers of rows."""
        return [int(number) for number in self._order(selection)[start : start + PAGE_ROWS]]

    def _order(self, selection: RowSelection) -> Any:
        import numpy as np

        if selection not in self._orders:
            state, quality = np.array(self._state, dtype="u1"), np.array(self._quality)
            if selection == "worst":
                scored = np.flatnonzero(~np.isnan(quality))
                self._orders[selection] = scored[np.argsort(quality[scored], kind="stable")]
            else:
                self._orders[selection] = np.flatnonzero(state == _ROW_FAILED if selection == "failed" else state)
        return self._orders[selection]


def scores_of(row: Mapping[str, Any], columns: Mapping[str, str] = SAME_NAMES) -> dict[str, dict[str, float]]:
    """Scores by model and metric; a single model has no name."""
    scores = row.get(columns["scores"])
    if not isinstance(scores, dict) or not scores:
        return {}
    return scores if all(isinstance(each, dict) for each in scores.values()) else {"": scores}


def expected_of(row: Mapping[str, Any], reference: str, columns: Mapping[str, str] = SAME_NAMES) -> str:
    """The reference answer of a scored row: the text of that column, else the row's own answer."""
    if not row.get(columns["scores"]):
        return ""
    names = [reference] if reference else [name for names in ANSWER_COLUMNS.values() for name in names]
    own = next((row[name] for name in names if row.get(name) not in (None, "")), "")
    turns = row.get("messages")
    if not own and isinstance(turns, list) and turns and isinstance(turns[-1], dict):
        own = turns[-1].get("content", "")
    return str(own)


def answers_of(row: Mapping[str, Any], columns: Mapping[str, str] = SAME_NAMES) -> Iterator[tuple[str, str, bool]]:
    """Model (without a name where there is one only), its answer, and whether that is an error."""
    for name, failed in (("generate", False), ("error", True)):
        value = row.get(columns[name])
        if isinstance(value, dict):
            yield from ((model, str(answer), failed) for model, answer in value.items())
        elif value is not None:
            yield "", str(value), failed


def _sort_score(scores: Mapping[str, float]) -> float:
    """One number to sort by: the right numeric answer counts more than the wording around it."""
    return scores.get("numeric", scores["exact"]) * 10 + scores.get("chrf", 0.0)
