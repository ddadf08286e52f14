"""The predict task: questions in, the same rows with answers out, in the same order.

Knows inputs, models one after the other, resuming and the manifest. Knows nothing of tokens. Each answered row
goes to a work file at once, as does each that cannot be asked; the result is written from those when all are there.
Rows are never all in memory. Of several models one that fails harms no other: its rows say why.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid_core.artefacts import DatasetUse, write_manifest
from camelid_core.errors import CamelidError, DataError
from camelid_core.jobs.attempt_result import AttemptResult, Outcome
from camelid_core.models.reference import Reference, resolve_model
from camelid_core.plugins import load_host
from camelid_core.tasks import Interrupted, TaskContext

from camelid_serve.config import PredictConfig
from camelid_serve.generation import Delta
from camelid_serve.loaded_models import LoadedModel
from camelid_serve.metrics import Metric, available, missing, score
from camelid_serve.provenance import manifest_for, of_several, state_of

from .batch_answers import Item, Progress, answer_many
from .inputs import Input, Survey, open_input
from .prediction_rows import asked, labels, write_predictions
from .sequential_models import Together
from .work_log import Done, Seen, WorkLog


def run(config: PredictConfig, context: TaskContext) -> Mapping[str, Any]:
    """Answer every row of `config.input` into `context.output`.

    Raises:
        DataError: no rows, none that can be asked, or an unreadable file; a bad row is an error of that row alone.
        UsageError: two models of one name.
        CamelidError: the model cannot answer, or none of several can.
        Interrupted: asked to save; answered rows are kept for the next attempt.
    """
    host = load_host()
    references = {label: resolve_model(name, host) for label, name in labels(asked(config)).items()}
    source = open_input(config.input, config.columns, config.reference)
    survey = source.survey(config.limit)
    metrics = available() if survey.referenced else ()
    _say_what_is_scored(config, survey, context)
    progress = Progress(context, survey.rows * len(references))
    with ExitStack() as stack:
        sides = _sides(config, references, source, survey, metrics, context, stack)
        models = Together(references, config, host, lambda text: context.emit("log", text=text))
        stack.enter_context(models)
        failures = _answer(sides, models, context, progress)
    context.output.mkdir(parents=True)
    done = {label: side.work.done for label, side in sides.items()}
    figures = write_predictions(context.output, source.rows(config.limit), done, failures)
    speed = {"seconds": round(progress.seconds, 2), "tokens_per_second": progress.tokens_per_second}
    first, reference = next(iter(references.items()))
    manifest = manifest_for("predictions", reference, config, figures | speed, [survey.use], models.contract(first))
    write_manifest(context.output, of_several(manifest, references))
    return figures | speed


WORK = "answers.work.jsonl"


def work_name(number: int) -> str:
    """The work file of the model with this number, the first being 0."""
    return f"answers-{number}.work.jsonl" if number else WORK


def work_so_far(
    config: PredictConfig, directories: Sequence[Path], seen: Mapping[str, Seen] | None = None
) -> dict[str, Done]:
    """What each model has answered. `directories` are those of the job's attempts, newest first; `seen` by label."""
    return {
        label: Done([directory / work_name(number) for directory in directories], seen=(seen or {}).get(label))
        for number, label in enumerate(labels(asked(config)))
    }


def _say_what_is_scored(config: PredictConfig, survey: Survey, context: TaskContext) -> None:
    rows = f"{survey.rows:,} rows, {survey.referenced:,} of them with a reference, {survey.bad:,} that cannot be asked."
    context.emit("log", text=rows)
    if config.reference and not survey.referenced:
        raise DataError(f"no row has a text or a number in column {config.reference!r} to compare answers with.")
    if survey.referenced and missing():
        context.emit("log", text=f"Not every metric is there: {missing()}")


def _sides(
    config: PredictConfig,
    references: Mapping[str, Reference],
    source: Input,
    survey: Survey,
    metrics: Sequence[Metric],
    context: TaskContext,
    stack: ExitStack,
) -> dict[str, _Side]:
    """One for each model, with what it answered before."""
    sides = {}
    for number, (label, reference) in enumerate(references.items()):
        identity = _identity(config, reference, survey.use, metrics)
        work = WorkLog(work_name(number), identity, context.directory, context.earlier_attempts)
        sides[label] = _Side(config, stack.enter_context(work), source, metrics, survey.rows)
        if work.done:
            context.emit("log", text=f"{label}: {len(work.done):,} rows were answered before.")
    return sides


def _answer(sides: Mapping[str, _Side], models: Together, context: TaskContext, progress: Progress) -> dict[str, str]:
    """Every row that is not answered yet, by every model. Gives, of several, why those that failed did."""
    errors: dict[str, Exception] = {}
    left = [label for label in models.order if not sides[label].complete]
    for side in sides.values():
        progress.skip(len(side.work.done))
    for label in left:
        if context.stop_requested() == "finish":
            break
        try:
            with progress.paused():
                loaded = models.get(label)
            progress.emit()
            sides[label].answer(loaded, context, progress)
        except Exception as error:
            if (
                len(sides) == 1
                or AttemptResult.from_exception(error).how is Outcome.DISK_FULL
                or isinstance(error, Interrupted)
            ):
                raise
            if not isinstance(error, CamelidError):
                models.drop()  # whatever befell the engine, the next one gets another
            errors[label] = error
            context.emit("log", text=f"{label} does not answer: {_sentence(error)}")
            progress.skip(sides[label].rows - len(sides[label].work.done))
    if len(errors) == len(sides):
        raise next(iter(errors.values()))
    progress.emit()
    return {label: _sentence(error) for label, error in errors.items()}


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, CamelidError) else f"{type(error).__name__}: {error}"


@dataclass(frozen=True)
class _Side:
    """One model's part of the job."""

    config: PredictConfig
    work: WorkLog
    source: Input
    metrics: Sequence[Metric]
    rows: int

    @property
    def complete(self) -> bool:
        return len(self.work.done) >= self.rows

    def answer(self, loaded: LoadedModel, context: TaskContext, progress: Progress) -> None:
        config = self.config
        references: dict[int, str] = {}
        items = self._items(references, progress)
        answers = answer_many(loaded, items, config.sampling, config.batch_size, tuned=not config.base)
        for number, news in answers:
            result = _result(news)
            if result is not None:
                reference = references.pop(number, "")
                if reference and "generate" in result:
                    result["scores"] = score(result["generate"], reference, self.metrics)
                self.work.add(number, result)
                progress.row(result.get("tokens", 0))
            if stop := context.stop_requested():
                answers.close()
                if stop == "save":
                    raise Interrupted
                return

    def _items(self, references: dict[int, str], progress: Progress) -> Iterator[Item]:
        """Rows that are to be asked; those that cannot be are done with at once."""
        for row in self.source.rows(self.config.limit):
            if row.number in self.work.done:
                continue
            if row.error:
                self.work.add(row.number, {"error": row.error})
                progress.skip(1)
                continue
            if row.reference:
                references[row.number] = row.reference
            yield row.number, row.messages


def _result(news: Delta | CamelidError) -> dict[str, Any] | None:
    """What is kept of a row once it is done."""
    if isinstance(news, CamelidError):
        return {"error": str(news)}
    if news.stats is None:
        return None
    return {"generate": news.answer, "finish": news.stats.finish, "tokens": news.stats.tokens}


def _identity(config: PredictConfig, reference: Reference, use: DatasetUse, metrics: Sequence[Metric]) -> str:
    """Tells whether an earlier attempt's answers are answers to the same questions, asked in the same way."""
    fields = {"template", "sampling", "base", "dtype", "engine", "columns", "reference"}
    how = config.model_dump(include=fields, mode="json")
    asked_of = [state_of(reference), [each.name for each in metrics], use.sha256]
    return hashlib.sha256(json.dumps([how, asked_of], sort_keys=True).encode()).hexdigest()
