"""The evaluate task: answer accuracy (exact match of final answers) on held-out rows.

Knows datasets, scoring and the report. Knows nothing of tokens. Tuned and base model share one engine and one
template.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from camelid_core.artefacts import DatasetUse, write_manifest
from camelid_core.datasets.dataset import Dataset
from camelid_core.datasets.sources import open_dataset
from camelid_core.errors import CamelidError, DataError, UsageError
from camelid_core.final_answers import same_answer
from camelid_core.plugins import Host, load_host
from camelid_core.records import NO_QUESTION, Record
from camelid_core.statistics.scores import Scores, difference, estimate
from camelid_core.tasks import Interrupted, TaskContext

from camelid_serve.config import EvaluateConfig
from camelid_serve.loaded_models import LoadedModel, load_model
from camelid_serve.predict.batch_answers import TaskProgress, generate_all
from camelid_serve.predict.work_log import WorkLog
from camelid_serve.provenance import model_manifest, weights_identity

ANSWERS = "answers.jsonl"


def run(config: EvaluateConfig, context: TaskContext) -> Mapping[str, Any]:
    """Answer held-out rows, score them, and write answers and scores to `context.output`.

    Raises:
        DataError: no rows, or rows without a gold answer.
        Interrupted: asked to save; scored rows are kept for the next attempt.
    """
    host = load_host()
    dataset, records = _records(config, host)
    loaded = load_model(config.model, host, config.engine_config, lambda text: context.emit("log", text=text))
    try:
        sides = _sides(config, loaded)
        if "base" in sides and loaded.templates_differ:
            context.emit("log", text=loaded.templates_differ)
        progress = TaskProgress(context, len(records) * len(sides))
        results = {side: _score(loaded, records, side, config, context, progress) for side in sides}
        return _write(loaded, dataset, records, results, config, context, progress)
    finally:
        loaded.close()


def _records(config: EvaluateConfig, host: Host) -> tuple[Dataset, list[Record]]:
    dataset = open_dataset(config.data, host.datasets)
    if dataset.name in host.datasets and not dataset.heldout_rows:
        raise UsageError(f"dataset {dataset.name!r} has no held-out part; name a file, or a dataset that has one.")
    records = list(islice(dataset.load("heldout", config.rows), config.rows))
    if not records:
        raise DataError(f"{config.data!r} holds no rows to score.")
    text = next((record for record in records if record.is_text), None)
    if text is not None:
        raise DataError(f"row {text.id!r} of {config.data!r} cannot be scored: {NO_QUESTION}")
    empty = next((record for record in records if not record.answer), None)
    if empty is not None:
        raise DataError(f"row {empty.id!r} of {config.data!r} has no answer to compare with.")
    return dataset, records


def _sides(config: EvaluateConfig, loaded: LoadedModel) -> list[str]:
    """Which models are scored: tuned and base, or only the one that there is."""
    return ["tuned", "base"] if loaded.adapter and config.base else ["tuned"]


def _score(
    loaded: LoadedModel,
    records: Sequence[Record],
    side: str,
    config: EvaluateConfig,
    context: TaskContext,
    progress: TaskProgress,
) -> Mapping[int, Mapping[str, Any]]:
    settings = config.model_dump(exclude={"base", "batch_size"}, mode="json")
    inputs = [_digest(records), weights_identity(loaded.resolved)]
    identity = hashlib.sha256(json.dumps([inputs, settings], sort_keys=True).encode()).hexdigest()
    with WorkLog(f"{side}.work.jsonl", identity, context.directory, context.earlier_attempts) as work:
        items = [(index, record.prompt) for index, record in enumerate(records) if index not in work.done]
        for _ in range(len(records) - len(items)):
            progress.row()
        if context.stop_requested() == "finish":
            return work.done
        for index, outcome in generate_all(
            loaded.side(side == "tuned"), items, config.sampling, config.batch_size, side == "tuned"
        ):
            if isinstance(outcome, CamelidError):
                work.add(index, {"answer": "", "correct": False, "error": str(outcome)})
                progress.row()
            elif outcome.stats is not None:
                correct = same_answer(outcome.answer, records[index].answer)
                work.add(index, {"answer": outcome.answer, "correct": correct})
                progress.row(outcome.stats.tokens)
            stop = context.stop_requested()
            if stop == "save":
                raise Interrupted
            if stop == "finish":
                break
        return work.done


def _write(
    loaded: LoadedModel,
    dataset: Dataset,
    records: Sequence[Record],
    results: Mapping[str, Mapping[int, Mapping[str, Any]]],
    config: EvaluateConfig,
    context: TaskContext,
    progress: TaskProgress,
) -> Mapping[str, Any]:
    results = {side: done for side, done in results.items() if done}  # it may have been asked to finish early
    scored = [index for index in range(len(records)) if all(index in side for side in results.values())]
    if "tuned" not in results or not scored:
        raise DataError("the evaluation was asked to finish before a row was scored.")
    context.output.mkdir(parents=True)
    with (context.output / ANSWERS).open("w", encoding="utf-8") as file:
        for index in scored:
            line = _line(records[index]) | {side: done[index] for side, done in results.items()}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    metrics = {
        "rows": len(scored),
        **_accuracy(records, scored, results),
        "seconds": round(progress.seconds, 2),
        "tokens_per_second": progress.tokens_per_second,
    }
    use = DatasetUse(id=dataset.name, rows=len(records), sha256=_digest(records), licence=dataset.licence)
    write_manifest(context.output, model_manifest("evaluation", loaded, config, metrics, [use]))
    return metrics


def _accuracy(
    records: Sequence[Record], scored: Sequence[int], results: Mapping[str, Mapping[int, Mapping[str, Any]]]
) -> dict[str, Any]:
    """Of each side, and the paired difference of the tuned model from its base. Rows on one passage are a cluster."""
    passages = {str(index): records[index].prompt[-1].context for index in scored}
    right = {
        side: Scores.of({str(index): float(done[index]["correct"]) for index in scored}, passages, share=True)
        for side, done in results.items()
    }
    found: dict[str, Any] = {"accuracy": estimate(right["tuned"]).as_json()}
    if "base" in right:
        found["base_accuracy"] = estimate(right["base"]).as_json()
        found["difference"] = difference(right["tuned"], right["base"]).as_json()
    return found


def _line(record: Record) -> dict[str, Any]:
    question = "\n".join(message.text for message in record.prompt)
    return {"id": record.id, "question": question, "expected": record.answer}


def _digest(records: Sequence[Record]) -> str:
    digest = hashlib.sha256()
    for record in records:
        turns = [[message.role, message.content, message.context] for message in record.messages]
        digest.update(json.dumps(turns, ensure_ascii=False).encode())
    return digest.hexdigest()
