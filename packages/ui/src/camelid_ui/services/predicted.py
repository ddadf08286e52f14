"""The rows of a prediction, finished or under way: how many, which to show, what the scores are.

Knows the columns of a result. Goes through all rows and holds only those that are shown.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from camelid_serve.inputs import ANSWERED_BY
from camelid_serve.metrics import Means

Showing = Literal["all", "failed", "worst"]
"""In the input's order; of that, those with an error; or those with the lowest scores first."""
SHOWN = 100

Numbered = tuple[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Answers:
    """`shown` are rows with their numbers; `means` are those of the scores so far, by model where there are several;
    `finished` if these are all rows there will be; `reference` is the column that the answers were to be
    like and `question` the one that was asked, where a person named them."""

    count: int = 0
    failed: int = 0
    shown: Sequence[Numbered] = ()
    means: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    finished: bool = False
    reference: str = ""
    question: str = ""


def look_at(
    rows: Iterable[Numbered], showing: Showing, finished: bool, reference: str = "", question: str = ""
) -> Answers:
    """Go through `rows` once."""
    count = failed = 0
    means: dict[str, Means] = {}
    picked: list[Numbered] = []
    worst: list[tuple[float, int, dict[str, Any]]] = []
    for number, row in rows:
        count += 1
        failed += "error" in row
        scores = scores_of(row)
        for model, each in scores.items():
            means.setdefault(model, Means()).add(each)
        if showing == "worst" and scores:
            place = (-min(map(_quality, scores.values())), -number, row)
            (heapq.heappush if len(worst) < SHOWN else heapq.heappushpop)(worst, place)
        elif len(picked) < SHOWN and (showing == "all" or (showing == "failed" and "error" in row)):
            picked.append((number, row))
    if showing == "worst":
        picked = [(-number, row) for _, number, row in sorted(worst, key=lambda place: place[:2], reverse=True)]
    return Answers(
        count, failed, picked, {model: each.values() for model, each in means.items()}, finished, reference, question
    )


def scores_of(row: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """By model, of which one that answered alone has no name, and metric."""
    scores = row.get("scores")
    if not isinstance(scores, dict) or not scores:
        return {}
    return scores if all(isinstance(each, dict) for each in scores.values()) else {"": scores}


def expected_of(row: Mapping[str, Any], reference: str) -> str:
    """What a scored row was compared with: the text of that column, else the row's own answer."""
    if not row.get("scores"):
        return ""
    names = [reference] if reference else [name for names in ANSWERED_BY.values() for name in names]
    own = next((row[name] for name in names if row.get(name) not in (None, "")), "")
    turns = row.get("messages")
    if not own and isinstance(turns, list) and turns and isinstance(turns[-1], dict):
        own = turns[-1].get("content", "")
    return str(own)


def answers_of(row: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Model (without a name where there is one only), what it said, and whether that is an error."""
    for name, failed in (("generate", False), ("error", True)):
        value = row.get(name)
        if isinstance(value, dict):
            yield from ((model, str(said), failed) for model, said in value.items())
        elif value is not None:
            yield "", str(value), failed


def _quality(scores: Mapping[str, float]) -> float:
    """One number to sort by: a right number counts for more than how the sentence around it is put."""
    return scores.get("numeric", scores["exact"]) * 10 + scores.get("chrf", 0.0)
