"""Training runs as the page lists and shows them: settings in short, progress, loss.

Knows attempts' event files and reads no more of them than it must: a long run has many events.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from camelid_core.events import read_events
from camelid_core.jobs import Job
from camelid_core.jobs.job import JobState
from camelid_core.jobs.run_directories import EVENTS, attempts

from camelid_ui.services.jobs import RUNNING, JobView

from .run_events import RunReport, RunReportBuilder

FILTERS: Mapping[str, frozenset[JobState]] = {
    "running": RUNNING,
    "succeeded": frozenset({JobState.SUCCEEDED}),
    "failed": frozenset({JobState.FAILED}),
    "cancelled": frozenset({JobState.CANCELLED, JobState.PAUSED}),
}
"""Filters of the list of runs, and the job states each means."""


@dataclass(frozen=True, slots=True)
class LossSummary:
    """`loss` is the latest held-out loss, else the latest training loss; `best` the lowest held-out loss."""

    loss: float | None = None
    best: float | None = None


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in short."""

    view: JobView
    loss_summary: LossSummary = field(default_factory=LossSummary)

    @property
    def job(self) -> Job:
        return self.view.job

    @property
    def model(self) -> str:
        return _short(str(self._section("model").get("name", "")))

    @property
    def data(self) -> str:
        return ", ".join(_short(str(source)) for source in self._section("data").get("sources", []))

    @property
    def method(self) -> str:
        """The tuning method, and the objective where it is not SFT."""
        objective = str(self._section("objective").get("type", "sft"))
        method = str(self._section("method").get("type", "lora"))
        return method if objective == "sft" else f"{method} · {objective}"

    @property
    def artefact(self) -> str:
        return Path(self.job.published).name if self.job.published else ""

    def matches(self, search: str, state: str) -> bool:
        """Whether it passes this filter (of `FILTERS`) and contains the search words."""
        about = f"{self.job.id} {self.job.label} {self.model} {self.data} {self.method}".lower()
        fits = not state or self.job.state in FILTERS.get(state, frozenset())
        return fits and all(word in about for word in search.lower().split())

    def _section(self, name: str) -> Mapping[str, Any]:
        section = self.job.config.get(name)
        return section if isinstance(section, dict) else {}


@dataclass(frozen=True, slots=True)
class RunDetails(RunSummary):
    """A run with the report of its events."""

    report: RunReport = field(default_factory=RunReport)


class RunReports:
    """Cached reports of the runs that are shown; each call reads only the events written since the last."""

    def __init__(self, home: Path, kept: int = 32) -> None:
        self._home = home
        self._kept = kept
        self._cache: dict[int, _CachedReport] = {}
        self._lock = threading.Lock()

    def of(self, job_id: int) -> RunReport:
        with self._lock:
            known = self._cache.pop(job_id, None) or _CachedReport()
            self._cache[job_id] = known
            while len(self._cache) > self._kept:
                self._cache.pop(next(iter(self._cache)))
            for attempt in reversed(attempts(self._home, job_id)):
                new, offset = read_events(attempt / EVENTS, known.read.get(attempt, 0))
                known.read[attempt] = offset
                for event in new:
                    known.builder.add(event)
                    known.report = None
            known.report = known.report or known.builder.report()
            return known.report

    def forget(self, job_id: int) -> None:
        with self._lock:
            self._cache.pop(job_id, None)


@dataclass
class _CachedReport:
    builder: RunReportBuilder = field(default_factory=RunReportBuilder)
    read: dict[Path, int] = field(default_factory=dict)
    report: RunReport | None = None


def loss_summary(home: Path, job_id: int) -> LossSummary:
    """From the evaluation events and the last training event alone: a list has many runs."""
    files = [path / EVENTS for path in reversed(attempts(home, job_id))]
    sizes = [path.stat().st_size if path.is_file() else 0 for path in files]
    return _brief(tuple(files), tuple(sizes))


@lru_cache(maxsize=1024)
def _brief(files: tuple[Path, ...], _sizes: tuple[int, ...]) -> LossSummary:
    held: list[float] = []
    trained: float | None = None
    for path in files:
        lines = path.read_bytes().split(b"\n") if path.is_file() else []
        held += [value for line in lines if line.startswith(b'{"kind": "eval"') for value in _loss(line)]
        newest = next((line for line in reversed(lines) if line.startswith(b'{"kind": "train"')), b"")
        trained = next(iter(_loss(newest)), trained)
    return LossSummary(held[-1] if held else trained, min(held, default=None))


def _loss(line: bytes) -> list[float]:
    try:
        value = json.loads(line).get("loss") if line else None
    except ValueError:  # torn by a kill in the middle of a write
        return []
    return [float(value)] if isinstance(value, int | float) and math.isfinite(value) else []


def _short(source: str) -> str:
    return Path(source).stem if "/" in source else source
