"""The predict task: a file of questions in, the same rows with answers out, in the same order.

Knows files, resuming and the manifest. Knows nothing of tokens. Each answered row goes to a work
file at once; the result is written from it when all are there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from camelid_core.artefacts import DatasetUse, write_manifest
from camelid_core.errors import CamelidError, DataError
from camelid_core.integrity import sha256
from camelid_core.plugins import load_host
from camelid_core.tasks import Interrupted, TaskContext

from .assemble import Assembled, assemble
from .config import PredictConfig
from .inputs import PREDICTIONS, Row, read_rows
from .many import Progress, answer_many
from .provenance import manifest_of
from .worklog import WorkLog, read_work

WORK = "answers.work.jsonl"
_UNANSWERED = "not answered: the job was asked to finish early."


def run(config: PredictConfig, context: TaskContext) -> Mapping[str, Any]:
    """Answer every row of `config.input` into `context.output`.

    Raises:
        DataError: no rows, or an unreadable file; a bad row is an error of that row alone.
        Interrupted: asked to save; answered rows are kept for the next attempt.
    """
    path = Path(config.input)
    rows = list(read_rows(path, config.limit))
    if not rows:
        raise DataError(f"{path.name} holds no rows.")
    source = DatasetUse(id=path.name, rows=len(rows), sha256=sha256(path))
    with WorkLog(WORK, _identity(config, source), context.directory, context.earlier) as work:
        context.emit("log", text=f"{len(rows)} rows, {len(work.done)} of them answered before.")
        for row in rows:
            if row.error and row.number not in work.done:
                work.add(row.number, {"error": row.error})
        assembled = assemble(
            config.model,
            load_host(),
            config.template,
            config.dtype,
            config.engine,
            config.batch_size,
            report=lambda text: context.emit("log", text=text),
        )
        try:
            progress = _answer(assembled, rows, config, context, work)
            return _write(assembled, rows, config, context, work, progress, source)
        finally:
            assembled.close()


def partial(input_path: Path, directories: Sequence[Path], limit: int | None = None) -> list[dict[str, Any]]:
    """Rows answered so far, in input order: what a page shows and offers while the job runs.

    `directories` are those of the job's attempts, newest first.
    """
    results: dict[int, dict[str, Any]] = {}
    for directory in directories:
        for number, result in read_work(directory / WORK):
            results.setdefault(number, result)
    return [_joined(row, results[row.number]) for row in read_rows(input_path, limit) if row.number in results]


def _identity(config: PredictConfig, source: DatasetUse) -> str:
    """Tells whether an earlier attempt's answers are answers to the same questions, asked in the same way."""
    asked = config.model_dump(include={"model", "template", "sampling", "base", "dtype", "engine"}, mode="json")
    return hashlib.sha256(json.dumps([source.sha256, asked], sort_keys=True).encode()).hexdigest()


def _answer(
    assembled: Assembled, rows: Sequence[Row], config: PredictConfig, context: TaskContext, work: WorkLog
) -> Progress:
    items = [(row.number, row.messages) for row in rows if row.number not in work.done]
    progress = Progress(context, len(rows), len(rows) - len(items))
    progress.emit()
    answers = answer_many(assembled, items, config.sampling, config.batch_size, tuned=not config.base)
    for number, news in answers:
        if isinstance(news, CamelidError):
            work.add(number, {"error": str(news)})
            progress.row()
        elif news.facts is not None:
            facts = {"finish": news.facts.finish, "tokens": news.facts.tokens}
            work.add(number, {"generate": news.answer, **facts})
            progress.row(news.facts.tokens)
        if stop := context.stopping():
            answers.close()
            if stop == "save":
                raise Interrupted
            break
    return progress


def _write(
    assembled: Assembled,
    rows: Sequence[Row],
    config: PredictConfig,
    context: TaskContext,
    work: WorkLog,
    progress: Progress,
    source: DatasetUse,
) -> Mapping[str, Any]:
    results = [work.done.get(row.number, {"error": _UNANSWERED}) for row in rows]
    context.output.mkdir(parents=True)
    with (context.output / PREDICTIONS).open("w", encoding="utf-8") as file:
        for row, result in zip(rows, results, strict=True):
            file.write(json.dumps(_joined(row, result), ensure_ascii=False) + "\n")
    failed = sum("error" in result for result in results)
    metrics = {
        "rows": len(rows),
        "failed": failed,
        "tokens": sum(result.get("tokens", 0) for result in results),
        "cut": sum(result.get("finish") == "length" for result in results),
        "seconds": round(progress.seconds, 2),
        "tokens_per_second": progress.tokens_per_second,
    }
    write_manifest(context.output, manifest_of("predictions", assembled, config, metrics, [source]))
    return metrics


def _joined(row: Row, result: Mapping[str, Any]) -> dict[str, Any]:
    """The row as it came, with `generate`, or with `error` where it could not be answered."""
    key = "error" if "error" in result else "generate"
    return {**row.fields, key: result[key]}
