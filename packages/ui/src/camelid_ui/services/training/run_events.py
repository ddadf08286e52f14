"""A run's events gathered into a report: curves, sample answers and messages.

Knows kinds of events. Where a resumed attempt repeats a step, the later value counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .curves import CurvePoint, Curves, Points, smooth, thin

SERIES = {
    "train": {
        "loss": "loss", "smoothed": "smoothed", "learning_rate": "learning_rate", "grad_norm": "gradient_norm",
        "tokens_per_second": "tokens_per_second", "memory": "memory",
    },
    "eval": {"loss": "heldout_loss"},
    "progress": {"tokens_per_second": "mean_tokens_per_second", "memory": "memory"},
}  # fmt: skip
"""By kind of event: which of its values belong to which series."""
LATEST_KINDS = frozenset({"data", "model", "preflight", "progress", "launch", "checkpoint"})
"""Kinds of which only the latest event is kept."""
MESSAGE_KINDS = frozenset({"stop", "micro_batch", "log"})
"""Kinds that are shown as messages."""
MAX_MESSAGES = 8


@dataclass(frozen=True, slots=True)
class AnswersByStep:
    """One prompt, its reference answer, and the model's answer by optimizer step, in order."""

    prompt: str
    reference: str
    answers: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class RunReport:
    """A run so far. `latest` has the last event of each of the `LATEST_KINDS`; `messages` are events in their order;
    `best_heldout` is the lowest held-out loss, `peak_memory` is in bytes."""

    curves: Curves = field(default_factory=Curves)
    samples: tuple[AnswersByStep, ...] = ()
    latest: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    messages: tuple[Mapping[str, Any], ...] = ()
    best_heldout: CurvePoint | None = None
    peak_memory: float = 0.0

    def of(self, kind: str) -> Mapping[str, Any]:
        return self.latest.get(kind, {})

    @property
    def loss(self) -> float | None:
        """The latest held-out loss, else the latest training loss."""
        points = self.curves.heldout_loss or self.curves.loss
        return points[-1].value if points else None


class RunReportBuilder:
    """Takes events one by one; `report()` is their state so far."""

    def __init__(self) -> None:
        self._series: defaultdict[str, dict[int, float]] = defaultdict(dict)
        self._latest: dict[str, Mapping[str, Any]] = {}
        self._messages: list[Mapping[str, Any]] = []
        self._samples: dict[int, AnswersByStep] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        kind = str(event.get("kind"))
        if kind in LATEST_KINDS:
            self._latest[kind] = event
        if kind in MESSAGE_KINDS:
            self._messages = [*self._messages, event][-MAX_MESSAGES:]
        if kind == "sample":
            self._sample(event)
        step = event.get("done") if kind == "progress" and event.get("unit") == "steps" else event.get("step")
        if isinstance(step, int):
            for key, name in SERIES.get(kind, {}).items():
                value = event.get(key)
                if isinstance(value, int | float):
                    self._series[name][step] = float(value)

    def report(self) -> RunReport:
        heldout_loss, loss = self._points("heldout_loss"), self._points("loss")
        smoothed = self._points("smoothed") or smooth(loss)
        memory = self._points("memory")
        curves = Curves(
            loss=thin(loss),
            smoothed=thin(smoothed),
            heldout_loss=thin(heldout_loss),
            learning_rate=thin(self._points("learning_rate")),
            gradient_norm=thin(self._points("gradient_norm")),
            tokens_per_second=thin(self._points("tokens_per_second") or self._points("mean_tokens_per_second")),
            memory=thin(memory),
        )
        return RunReport(
            curves=curves,
            samples=tuple(self._samples[index] for index in sorted(self._samples)),
            latest=dict(self._latest),
            messages=tuple(self._messages),
            best_heldout=min(heldout_loss, key=lambda point: point.value, default=None),
            peak_memory=max((point.value for point in memory), default=0.0),
        )

    def _points(self, name: str) -> Points:
        series = self._series[name]
        return tuple(CurvePoint(step, series[step]) for step in sorted(series))

    def _sample(self, event: Mapping[str, Any]) -> None:
        index, step = event.get("index"), event.get("step")
        if not isinstance(index, int) or not isinstance(step, int):
            return
        known = self._samples.get(index)
        answers = {**(known.answers if known else {}), step: str(event.get("answer", ""))}
        self._samples[index] = AnswersByStep(
            prompt=str(event.get("prompt", "")),
            reference=str(event.get("reference", "")),
            answers={step: answers[step] for step in sorted(answers)},
        )
