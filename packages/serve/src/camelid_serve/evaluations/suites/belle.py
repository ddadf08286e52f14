"""Belle-eval: Chinese questions by class, whose answers a judge scores. Knows its files in and out, and how a judge's
reply is read. The judge itself is another program: what it wrote is read by `verdicts`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from camelid_serve.evaluations.evaluation import Answer, Evaluation, Item, ItemSource, Measure, Skipped

from .prompts import conversation, evenly, field, json_rows
from .suite import SuiteTask

_SCORE = re.compile(r"得分\s*[:：]\s*\**\s*([01](?:\.\d+)?)(?![\d.])")


def belle(task: SuiteTask) -> Evaluation:
    """A JSON array of class, question and std_answer. Its answers are written for a judge; here only their presence is
    measured."""
    measures = (Measure("answered", "There is an answer for the judge."),)
    return Evaluation(task.name, task.help, measures, _items, _score, sampling=task.sampling)


def _items(source: ItemSource) -> Iterator[Item | Skipped]:
    path, groups = Path(source.data), {}  # type: ignore[var-annotated]
    for number, row in enumerate(json_rows(path)):
        kind, question, gold = (field(row, name, path) for name in ("class", "question", "std_answer"))
        about = {"row": {"C": kind, "Q": question, "A": gold}}
        item = Item(f"belle-{number}", (conversation(str(question)),), str(gold or ""), "", about, str(kind))
        groups.setdefault(kind, []).append(item)
    yield from evenly(list(groups.values()), source.rows)


def _score(item: Item, answers: Sequence[Answer]) -> Mapping[str, float]:
    return {"answered": float(bool(answers[0].text.strip()))}


def judged_score(reply: str) -> float | None:
    """The score from 0 to 1 that a judge's reply states behind `得分:`; None where it states none in that range."""
    found = _SCORE.findall(reply)
    score = float(found[0]) if found else -1.0
    return score if 0 <= score <= 1 else None
