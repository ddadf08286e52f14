"""The predict task: questions in, the same rows with answers out, in the same order.

Knows inputs, models one after the other, resuming and the manifest. Knows nothing of tokens. Each answered row
goes to a work file at once; the result is written from those when all are there. Rows are never all in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid_core.artefacts import DatasetUse, Manifest, write_manifest
from camelid_core.errors import CamelidError, DataError
from camelid_core.models import resolve_model
from camelid_core.plugins import load_host
from camelid_core.tasks import Interrupted, TaskContext

from .answering import Delta
from .assemble import Assembled, assemble
from .config import PredictConfig
from .inputs import Input, Survey, open_input
from .many import Item, Progress, answer_many
from .metrics import Metric, available, missing, score
from .predictions import asked, labels, write_predictions
from .provenance import manifest_of
from .worklog import Done, WorkLog


def run(config: PredictConfig, context: TaskContext) -> Mapping[str, Any]:
    """Answer every row of `config.input` into `context.output`.

    Raises:
        DataError: no rows, none that can be asked, or an unreadable file; a bad row is an error of that row alone.
        UsageError: two models of one name.
        Interrupted: asked to save; answered rows are kept for the next attempt.
    """
    host = load_host()
    for name in asked(config):
        resolve_model(name, host)  # all of them, before the first one answers anything
    source = open_input(config.input, config.columns, config.reference)
    survey = source.survey(config.limit)
    metrics = available() if survey.referenced else ()
    _say_what_is_scored(config, survey, context)
    names = labels(asked(config))
    progress = Progress(context, survey.rows * len(names), survey.bad * len(names))
    sides = [
        _Side(config, name, label, work_name(number), source, survey, metrics)
        for number, (label, name) in enumerate(names.items())
    ]
    done: dict[str, Done] = {}
    manifests: list[Manifest] = []
    for side in sides:
        done[side.label], manifest = side.answer(context, progress)
        manifests += [manifest] if manifest else []
    context.output.mkdir(parents=True)
    figures = write_predictions(context.output, source.rows(config.limit), done)
    speed = {"seconds": round(progress.seconds, 2), "tokens_per_second": progress.tokens_per_second}
    summary = figures | speed
    write_manifest(context.output, manifests[0].model_copy(update={"metrics": summary}))
    return summary


def work_name(number: int) -> str:
    """The work file of the model with this number, the first being 0."""
    return f"answers-{number}.work.jsonl" if number else WORK


WORK = "answers.work.jsonl"


def _say_what_is_scored(config: PredictConfig, survey: Survey, context: TaskContext) -> None:
    rows = f"{survey.rows:,} rows, {survey.referenced:,} of them with a reference, {survey.bad:,} that cannot be asked."
    context.emit("log", text=rows)
    if config.reference and not survey.referenced:
        raise DataError(f"no row has a text or a number in column {config.reference!r} to compare answers with.")
    if survey.referenced and missing():
        context.emit("log", text=f"Not every metric is there: {missing()}")


@dataclass(frozen=True)
class _Side:
    """One model's part of the job."""

    config: PredictConfig
    name: str
    label: str
    work: str
    source: Input
    survey: Survey
    metrics: Sequence[Metric]

    def answer(self, context: TaskContext, progress: Progress) -> tuple[Done, Manifest | None]:
        """Every row that is not answered yet; a model beside the first is not loaded if there is none."""
        identity = _identity(self.config, self.name, self.survey.use, self.metrics)
        with WorkLog(self.work, identity, context.directory, context.earlier) as work:
            if work.done:
                context.emit("log", text=f"{self.label}: {len(work.done):,} rows were answered before.")
            progress.skip(len(work.done))
            first = self.work == WORK
            if not first and len(work.done) + self.survey.bad == self.survey.rows:
                return work.done, None
            with progress.paused():
                assembled = self._assembled(context)
            try:
                progress.emit()
                self._answer(assembled, work, context, progress)
                manifest = manifest_of("predictions", assembled, self.config, {}, [self.survey.use]) if first else None
            finally:
                assembled.close()
        return work.done, manifest

    def _assembled(self, context: TaskContext) -> Assembled:
        return assemble(
            self.name,
            load_host(),
            self.config.template,
            self.config.dtype,
            self.config.engine,
            self.config.batch_size,
            report=lambda text: context.emit("log", text=text),
        )

    def _answer(self, assembled: Assembled, work: WorkLog, context: TaskContext, progress: Progress) -> None:
        config = self.config
        references: dict[int, str] = {}
        items = self._items(work, references)
        answers = answer_many(assembled, items, config.sampling, config.batch_size, tuned=not config.base)
        for number, news in answers:
            result = _result(news)
            if result is not None:
                reference = references.pop(number, "")
                if reference and "generate" in result:
                    result["scores"] = score(result["generate"], reference, self.metrics)
                work.add(number, result)
                progress.row(result.get("tokens", 0))
            if stop := context.stopping():
                answers.close()
                if stop == "save":
                    raise Interrupted
                return

    def _items(self, work: WorkLog, references: dict[int, str]) -> Iterator[Item]:
        for row in self.source.rows(self.config.limit):
            if not row.error and row.number not in work.done:
                if row.reference:
                    references[row.number] = row.reference
                yield row.number, row.messages


def _result(news: Delta | CamelidError) -> dict[str, Any] | None:
    """What is kept of a row once it is done."""
    if isinstance(news, CamelidError):
        return {"error": str(news)}
    if news.facts is None:
        return None
    return {"generate": news.answer, "finish": news.facts.finish, "tokens": news.facts.tokens}


def _identity(config: PredictConfig, model: str, use: DatasetUse, metrics: Sequence[Metric]) -> str:
    """Tells whether an earlier attempt's answers are answers to the same questions, asked in the same way."""
    fields = {"template", "sampling", "base", "dtype", "engine", "columns", "reference"}
    how = config.model_dump(include=fields, mode="json") | {"model": model, "metrics": [each.name for each in metrics]}
    return hashlib.sha256(json.dumps([use.sha256, how], sort_keys=True).encode()).hexdigest()


def work_so_far(config: PredictConfig, directories: Sequence[Path]) -> dict[str, Done]:
    """What each model has answered. `directories` are those of the job's attempts, newest first."""
    return {
        label: Done([directory / work_name(number) for directory in directories])
        for number, label in enumerate(labels(asked(config)))
    }
