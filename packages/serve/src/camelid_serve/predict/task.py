"""The predict task (batch prediction): prompts in, the same rows with answers out, in the same order.

Knows inputs, models one after the other, resuming and the manifest. Knows nothing of tokens. Each answered row is
appended to a work log at once, as is each invalid one; the result is written from the log when all are there.
Rows are never all in memory. Of several models one that fails harms no other: its rows say why.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid_core import staging
from camelid_core.artefacts import DatasetUse, write_manifest
from camelid_core.errors import CamelidError, DataError
from camelid_core.jobs.attempt_result import AttemptResult, Outcome
from camelid_core.jobs.pieces import with_pieces
from camelid_core.models.resolved_model import ResolvedModel, resolve_model
from camelid_core.plugin_faults import error_sentence
from camelid_core.plugins import load_host
from camelid_core.tasks import Interrupted, TaskContext

from camelid_serve.answers import AnswerDelta
from camelid_serve.config import PredictConfig
from camelid_serve.loaded_models import LoadedModel
from camelid_serve.metrics import Metric, available, missing, score
from camelid_serve.provenance import result_manifest, weights_identity, with_all_models

from .batch_answers import KeyedConversation, TaskProgress, generate_all
from .inputs import PREDICTIONS, InputSummary, PredictionInput, input_of
from .prediction_rows import model_labels, model_names, write_predictions
from .result_columns import renaming_note
from .sequential_models import SequentialModels
from .shards import answer_in_shards
from .work_log import WORK as WORK
from .work_log import OnResult, RecordedResults, WorkLog, work_file_name


def run(config: PredictConfig, context: TaskContext) -> Mapping[str, Any]:
    """Answer every row of `config.input` into `context.output`.

    Raises:
        DataError: no rows, no valid row, or an unreadable file; an invalid row is an error of that row alone.
        UsageError: two models of one name.
        CamelidError: the model cannot answer, or none of several can.
        Interrupted: asked to save; answered rows are kept for the next attempt.
    """
    host = load_host()
    models = {label: resolve_model(name, host) for label, name in model_labels(model_names(config)).items()}
    source = input_of(config)
    summary = source.summary(config.limit)
    metrics = available() if summary.with_gold else ()
    _log_summary(config, summary, source.notes(), context)
    progress = TaskProgress(context, summary.rows * len(models))
    loader = SequentialModels(models, config, host, lambda text: context.emit("log", text=text))
    identities = {label: _identity(config, model, summary.use, metrics) for label, model in models.items()}
    if config.launch.shards > 1:
        done, failures = answer_in_shards(config, summary.rows, identities, context, progress)
    else:
        with loader:
            done, failures = answer_rows(config, loader, source, identities, metrics, context, progress)
    context.output.mkdir(parents=True)
    figures = write_predictions(context.output, source.rows(config.limit), done, failures, summary.columns)
    speed = {"seconds": round(progress.seconds, 2), "tokens_per_second": progress.tokens_per_second}
    first, model = next(iter(models.items()))
    manifest = result_manifest("predictions", model, config, figures | speed, [summary.use], loader.contract(first))
    write_manifest(context.output, with_all_models(manifest, models))
    _write_out(context.output / PREDICTIONS, config.out)
    return figures | speed


def _write_out(source: Path, out: str) -> None:
    """A copy of the answered rows where the person wants them; readers of it see the old file or the whole new one.

    Raises:
        DataError: it cannot be written; a retry writes it without answering again.
    """
    if not out:
        return
    try:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        with staging.file(Path(out)) as staged:
            shutil.copyfile(source, staged)
            staged.replace(out)
    except OSError as error:
        raise DataError(
            f"--out {out!r} cannot be written: {error.strerror}. Every answer is kept: mend that and retry the job."
        ) from None


def answer_rows(
    config: PredictConfig,
    loader: SequentialModels,
    source: PredictionInput,
    identities: Mapping[str, str],
    metrics: Sequence[Metric],
    context: TaskContext,
    progress: TaskProgress,
    earlier: Sequence[Path] | None = None,
) -> tuple[dict[str, RecordedResults], dict[str, str]]:
    """Answer the rows of `source` in this process: the answers and errors by model. What is recorded in the directories
    `earlier` (by default those of earlier attempts) is not answered again.

    Raises as `run` does.
    """
    with ExitStack() as stack:
        model_runs = {}
        for number, (label, identity) in enumerate(identities.items()):
            before = with_pieces(context.earlier_attempts) if earlier is None else earlier
            work = WorkLog(work_file_name(number), identity, context.directory, before)
            model_runs[label] = _ModelRun(config, stack.enter_context(work), source, metrics, progress.total)
            if work.done:
                context.emit("log", text=f"{label}: {len(work.done):,} rows were answered before.")
        failures = _answer(model_runs, loader, context, progress)
    return {label: each.work.done for label, each in model_runs.items()}, failures


def recorded_answers(
    config: PredictConfig, directories: Sequence[Path], on_result: Mapping[str, OnResult] | None = None
) -> dict[str, RecordedResults]:
    """What each model has answered. `directories` are those of the job's attempts, newest first; `on_result` has
    callbacks by label."""
    return {
        label: RecordedResults(
            [directory / work_file_name(number) for directory in with_pieces(directories)],
            on_result=(on_result or {}).get(label),
        )
        for number, label in enumerate(model_labels(model_names(config)))
    }


def _log_summary(config: PredictConfig, summary: InputSummary, notes: Sequence[str], context: TaskContext) -> None:
    for note in notes:
        context.emit("log", text=note)
    rows = f"{summary.rows:,} rows, {summary.with_gold:,} of them with a gold answer, {summary.invalid:,} invalid."
    context.emit("log", text=rows)
    if summary.with_gold and not config.reference:
        context.emit("log", text="The answer that a row ends with is its gold answer; --continue continues it instead.")
    if note := renaming_note(summary.columns):
        context.emit("log", text=note)
    if config.reference and not summary.with_gold:
        raise DataError(f"no row has a text or a number in column {config.reference!r} to compare answers with.")
    if summary.with_gold and missing():
        context.emit("log", text=f"Not every metric is there: {missing()}")


def _answer(
    model_runs: Mapping[str, _ModelRun], loader: SequentialModels, context: TaskContext, progress: TaskProgress
) -> dict[str, str]:
    """Answer every row that is not answered yet, with every model. Returns errors by label where several models ran."""
    errors: dict[str, Exception] = {}
    pending = [label for label in loader.order if not model_runs[label].complete]
    for each in model_runs.values():
        progress.skip(len(each.work.done))
    for label in pending:
        if context.stop_requested() == "finish":
            break
        try:
            with progress.paused():
                loaded = loader.get(label)
            if len(model_runs) > 1:
                asked = loaded.side(not model_runs[label].config.base)
                context.emit("log", text=f"{label} is asked in template {asked.template.name!r}.")
            progress.emit()
            model_runs[label].answer(loaded, context, progress)
        except Exception as error:
            if (
                len(model_runs) == 1
                or AttemptResult.from_exception(error).how is Outcome.DISK_FULL
                or isinstance(error, Interrupted)
            ):
                raise
            if not isinstance(error, CamelidError):
                loader.unload()  # the engine may be broken: the next model gets a new one
            errors[label] = error
            context.emit("log", text=f"{label} does not answer: {_sentence(error)}")
            progress.skip(model_runs[label].rows - len(model_runs[label].work.done))
    if len(errors) == len(model_runs):
        raise next(iter(errors.values()))
    progress.emit()
    return {label: _sentence(error) for label, error in errors.items()}


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, CamelidError) else error_sentence(error)


@dataclass(frozen=True)
class _ModelRun:
    """One model's part of the job."""

    config: PredictConfig
    work: WorkLog
    source: PredictionInput
    metrics: Sequence[Metric]
    rows: int

    @property
    def complete(self) -> bool:
        return len(self.work.done) >= self.rows

    def answer(self, loaded: LoadedModel, context: TaskContext, progress: TaskProgress) -> None:
        config = self.config
        gold: dict[int, str] = {}
        items = self._items(gold, progress)
        answers = generate_all(
            loaded.side(not config.base), items, config.sampling, config.batch_size, tuned=not config.base
        )
        for number, outcome in answers:
            result = _result(outcome)
            if result is not None:
                expected = gold.pop(number, "")
                if expected and "generate" in result:
                    result["scores"] = score(result["generate"], expected, self.metrics)
                self.work.add(number, result)
                progress.row(result.get("tokens", 0))
            if stop := context.stop_requested():
                answers.close()
                if stop == "save":
                    raise Interrupted
                return

    def _items(self, gold: dict[int, str], progress: TaskProgress) -> Iterator[KeyedConversation]:
        """Rows to answer; invalid ones are recorded at once. Their gold answers are put into `gold`."""
        for row in self.source.rows(self.config.limit):
            if row.number in self.work.done:
                continue
            if row.error:
                self.work.add(row.number, {"error": row.error})
                progress.skip(1)
                continue
            if row.gold:
                gold[row.number] = row.gold
            yield row.number, row.messages


def _result(outcome: AnswerDelta | CamelidError) -> dict[str, Any] | None:
    """What the work log records of a finished row; None while its answer is incomplete."""
    if isinstance(outcome, CamelidError):
        return {"error": str(outcome)}
    if outcome.stats is None:
        return None
    return {"generate": outcome.answer, "finish": outcome.stats.finish, "tokens": outcome.stats.tokens}


def _identity(config: PredictConfig, model: ResolvedModel, use: DatasetUse, metrics: Sequence[Metric]) -> str:
    """Digest of model, rows and settings: answers of an earlier attempt are reused only where it is the same."""
    fields = {"template", "sampling", "base", "dtype", "engine", "columns", "reference", "prefill", "continue_answers"}
    settings = config.model_dump(include=fields, mode="json")
    inputs = [weights_identity(model), [each.name for each in metrics], use.sha256]
    return hashlib.sha256(json.dumps([settings, inputs], sort_keys=True).encode()).hexdigest()
