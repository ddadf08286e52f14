"""The score task: models × evaluations, item by item, and the table of them.

Knows jobs, models one after the other and how a later attempt goes on. Knows nothing of how an item is scored. Each
scored item is appended to a work log at once; a model whose items are all there is not loaded again.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from camelid_core.artefacts import DatasetUse, write_manifest
from camelid_core.errors import CamelidError, DataError
from camelid_core.models.resolved_model import ResolvedModel, resolve_model
from camelid_core.plugins import Host, load_host
from camelid_core.tasks import Interrupted, TaskContext

from camelid_serve.engine import Sampling
from camelid_serve.loaded_models import LoadedModel, LoadedModels
from camelid_serve.predict.batch_answers import TaskProgress
from camelid_serve.predict.prediction_rows import model_labels
from camelid_serve.predict.work_log import WorkLog
from camelid_serve.provenance import result_manifest, weights_identity, with_all_models

from .chosen_evaluations import ChosenEvaluation, chosen_evaluations
from .evaluation import Answer, Item, ItemSource
from .item_answers import item_answers
from .item_files import item_file, write_items
from .score_config import ScoreConfig
from .score_table import Column, markdown, notes, table
from .suites.answer_files import write_answer_files

RESULTS = "results.json"
TABLE = "table.md"


@dataclass
class _Material:
    """An evaluation and its items; `uses` is what they were made of."""

    chosen: ChosenEvaluation
    items: list[Item] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def sampling(self) -> Mapping[str, Any]:
        return self.chosen.evaluation.sampling

    @property
    def sha256(self) -> str:
        """Digest of what is asked and what is right."""
        digest = hashlib.sha256()
        for item in self.items:
            digest.update(json.dumps(asdict(item), ensure_ascii=False, sort_keys=True, default=str).encode())
        return digest.hexdigest()


def run(config: ScoreConfig, context: TaskContext) -> Mapping[str, Any]:
    """Score every model on every evaluation, and write items, table and manifest to `context.output`.

    Raises:
        UnknownName: no such model, evaluation or suite.
        DataError: no evaluation has an item, or a file that cannot be read.
        ModelError: an engine that cannot do what an evaluation needs.
        Interrupted: asked to save; scored items are kept for the next attempt.
    """
    host = load_host()
    models = {label: resolve_model(name, host) for label, name in model_labels(config.models).items()}
    baseline = next(label for label, name in model_labels(config.models).items() if name == (config.baseline or name))
    chosen = chosen_evaluations(config, host)
    materials = [_material(each, config, host, context) for each in chosen.evaluations]
    if not any(each.items for each in materials) and not chosen.imported:
        raise DataError(f"no evaluation has an item. {' '.join(_why_none(each) for each in materials)}")
    progress = TaskProgress(context, sum(len(each.items) for each in materials) * len(models), unit="items")
    with ExitStack() as stack:
        logs = {
            (number, label): stack.enter_context(_work_log(number, each, label, model, config, context))
            for number, each in enumerate(materials)
            for label, model in models.items()
        }
        progress.skip(sum(len(log.done) for log in logs.values()))
        progress.emit()
        contract = _answer_all(models, materials, logs, config, host, context, progress)
        columns = _write_items(materials, models, logs, context)
    labels = list(models)
    results = chosen.finished(table(chosen.columns(columns, labels), labels, baseline))
    _write(results, config, models, materials, contract, context)
    return {**_metrics(results), "seconds": round(progress.seconds, 2), "tokens_per_second": progress.tokens_per_second}


def _material(chosen: ChosenEvaluation, config: ScoreConfig, host: Host, context: TaskContext) -> _Material:
    found = _Material(chosen)
    for item in chosen.evaluation.items(ItemSource(chosen.data, config.rows, host)):
        if isinstance(item, Item):
            found.items.append(item)
        else:
            found.skipped[item.reason] += 1
    ids = Counter(item.id for item in found.items)
    if twice := [name for name, count in ids.items() if count > 1]:
        raise DataError(f"{chosen.evaluation.name}: {len(twice):,} ids are there twice, such as {twice[0]!r}.")
    reasons = "".join(f", {count:,} skipped: {reason}" for reason, count in found.skipped.items())
    context.emit("log", text=f"{chosen.evaluation.name}: {len(found.items):,} items{reasons}.")
    return found


def _why_none(material: _Material) -> str:
    reasons = "; ".join(material.skipped) or "there are no rows"
    return f"{material.chosen.evaluation.name}: {reasons}."


def _work_log(
    number: int, material: _Material, label: str, model: ResolvedModel, config: ScoreConfig, context: TaskContext
) -> WorkLog:
    settings = config.model_dump(include={"template", "dtype", "engine", "seed", "max_new_tokens"}, mode="json")
    told = [
        settings,
        material.chosen.evaluation.name,
        dict(material.sampling),
        material.sha256,
        weights_identity(model),
    ]
    identity = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    name = f"score-{number}-{hashlib.sha256(label.encode()).hexdigest()[:12]}.work.jsonl"
    return WorkLog(name, identity, context.directory, context.earlier_attempts)


def _answer_all(
    models: Mapping[str, ResolvedModel],
    materials: Sequence[_Material],
    logs: Mapping[tuple[int, str], WorkLog],
    config: ScoreConfig,
    host: Host,
    context: TaskContext,
    progress: TaskProgress,
) -> Any:
    """Answer what is not answered yet; models that share a base one after the other. The template contract of the
    baseline, where it was loaded."""
    loaded_models, contract = LoadedModels(), None
    bases = list(dict.fromkeys(model.base for model in models.values()))
    try:
        for label in sorted(models, key=lambda each: bases.index(models[each].base)):
            pending = [n for n, each in enumerate(materials) if len(logs[n, label].done) < len(each.items)]
            if not pending or context.stop_requested() == "finish":
                continue
            with progress.paused():
                loaded_models.load_resolved(
                    {label: models[label]}, host, config.engine_config, lambda text: context.emit("log", text=text)
                )
            loaded = loaded_models.models[label]
            contract = contract or loaded.contract()
            for number in pending:
                if not _answer(loaded, materials[number], logs[number, label], config, context, progress):
                    return contract
    finally:
        loaded_models.close()
    return contract


def _answer(
    loaded: LoadedModel,
    material: _Material,
    log: WorkLog,
    config: ScoreConfig,
    context: TaskContext,
    progress: TaskProgress,
) -> bool:
    """Answer the pending items of one evaluation; False if asked to finish."""
    evaluation = material.chosen.evaluation
    given = {} if config.max_new_tokens is None else {"max_new_tokens": config.max_new_tokens}
    sampling = Sampling.model_validate({**evaluation.sampling, "seed": config.seed, **given})
    pending = [(number, item) for number, item in enumerate(material.items) if number not in log.done]
    context.emit("log", text=f"{loaded.resolved.name}: {len(pending):,} items of {evaluation.name}")
    answers = item_answers(loaded, evaluation, pending, sampling, config.batch_size)
    try:
        for number, outcome, tokens in answers:
            log.add(number, _scored(material, number, outcome))
            progress.row(tokens)
            stop = context.stop_requested()
            if stop == "save":
                raise Interrupted
            if stop == "finish":
                return False
    finally:
        answers.close()
    return True


def _scored(material: _Material, number: int, outcome: Sequence[Answer] | CamelidError) -> dict[str, Any]:
    if isinstance(outcome, CamelidError):
        return {"error": str(outcome)}
    scores = material.chosen.evaluation.score(material.items[number], outcome)
    likely = material.chosen.evaluation.kind == "likelihood"
    answers = [round(each.logprob, 6) if likely else each.text for each in outcome]
    return {"answers": answers, "scores": {name: round(float(value), 6) for name, value in scores.items()}}


def _write_items(
    materials: Sequence[_Material],
    models: Mapping[str, ResolvedModel],
    logs: Mapping[tuple[int, str], WorkLog],
    context: TaskContext,
) -> list[Column]:
    """Items as files, and columns of the table. Asked to finish early, only what was scored counts."""
    if not any(log.done for log in logs.values()) and logs:
        raise DataError("the evaluation was asked to finish before an item was scored.")
    columns = []
    for number, material in enumerate(materials):
        evaluation, rows = material.chosen.evaluation, {}
        for label in models:
            done = logs[number, label].done
            write_items(item_file(context.output, evaluation.name, label), material.items, done)
            rows[label] = [
                {"id": item.id, "cluster": item.cluster, "group": item.group, **done[at]}
                for at, item in enumerate(material.items)
                if at in done
            ]
        write_answer_files(context.output, evaluation.name, material.items, models, rows)
        finished = all(len(each) == len(material.items) for each in rows.values())
        note = "" if finished else "the job was asked to finish early; only items that were scored count."
        columns.append(
            Column(
                evaluation.name,
                evaluation.help,
                evaluation.measures,
                rows,
                material.chosen.data,
                material.skipped,
                note,
            )
        )
    return columns


def _write(
    results: Mapping[str, Any],
    config: ScoreConfig,
    models: Mapping[str, ResolvedModel],
    materials: Sequence[_Material],
    contract: Any,
    context: TaskContext,
) -> None:
    context.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (context.output / RESULTS).write_text(text, encoding="utf-8")
    (context.output / TABLE).write_text(markdown(results), encoding="utf-8")
    for note in notes(results):
        context.emit("log", text=note)
    uses = [
        DatasetUse(id=each.chosen.shown_data, rows=len(each.items), sha256=each.sha256, licence=each.chosen.licence)
        for each in materials
        if each.items
    ]
    first = next(iter(models.values()))
    manifest = result_manifest("evaluation", first, config, _metrics(results), uses, contract)
    write_manifest(context.output, with_all_models(manifest, models))


def _metrics(results: Mapping[str, Any]) -> dict[str, Any]:
    """The first measure of every evaluation, by model, with differences from the baseline."""
    found: dict[str, Any] = {}
    for column in results["columns"]:
        if column["measures"]:
            first = column["measures"][0]
            found[column["name"]] = dict(first["estimates"])
            if first["differences"]:
                found[f"{column['name']} minus {results['baseline']}"] = dict(first["differences"])
    return found
