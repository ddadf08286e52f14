"""The passkey task (needle in a haystack): whether models find a key in a long text, by context length and depth.

Knows prompts, answers and the report. Knows nothing of tokens beyond their number. Each text is prompted through the
model's own template and answered greedily, one at a time: an answer depends on nothing but its own text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from typing import Any

from camelid_core.artefacts import TemplateContract
from camelid_core.errors import DataError, ModelError
from camelid_core.plugins import Host, load_host
from camelid_core.records import Message
from camelid_core.statistics.streamed_scores import ScoreSums
from camelid_core.tasks import Interrupted, TaskContext

from camelid_serve.config import EngineConfig
from camelid_serve.engine import Sampling
from camelid_serve.generation import generate
from camelid_serve.loaded_models import LoadedModel, load_resolved_model
from camelid_serve.predict.batch_answers import TaskProgress
from camelid_serve.predict.work_log import WorkLog

from .haystack import haystack, key_found, passkey_of
from .long_context_config import PasskeyConfig
from .model_variants import Variant, variants
from .plots import passkey_figure
from .result_files import work_identity, write_results

WORK = "passkey.work.jsonl"
ANSWERS = "answers.jsonl"
_SAMPLING = Sampling(max_new_tokens=20)


@dataclass(frozen=True, slots=True)
class _Question:
    """One text for one model variant; its number `text` determines the key."""

    number: int
    variant: int
    length: int
    depth: float
    text: int


def run(config: PasskeyConfig, context: TaskContext) -> Mapping[str, Any]:
    """Generate answers, and write results, answers, plot and manifest to `context.output`.

    Raises:
        DataError: lengths that have no room for the question.
        ModelError: no model takes any of the lengths.
        Interrupted: asked to save; what was answered is kept for the next attempt.
    """

    def log(text: str) -> None:
        context.emit("log", text=text)

    host = load_host()
    compared = variants(config.models, config.rope, host, log)
    questions = list(_questions(config, len(compared)))
    contract = None
    with WorkLog(WORK, work_identity(config, compared), context.directory, context.earlier_attempts) as work:
        total = sum(question.length for question in questions)
        progress = TaskProgress(
            context, total, sum(q.length for q in questions if q.number in work.done), unit="tokens"
        )
        progress.emit()
        for number, variant in enumerate(compared):
            pending = [
                question for question in questions if question.variant == number and question.number not in work.done
            ]
            if pending or contract is None:
                with progress.paused():
                    model = _load(variant, config, host, context)
                with closing(model) as loaded:
                    contract = contract or loaded.contract()
                    if not _answer(loaded, variant, pending, config, context, work, progress):
                        break
        answers = {question: work.done[question.number] for question in questions if question.number in work.done}
    return _write(config, context, compared, answers, contract, progress)


def _questions(config: PasskeyConfig, models: int) -> Iterator[_Question]:
    texts = list(product(config.lengths, config.depths, range(config.trials)))
    for number, (variant, (text, (length, depth, _))) in enumerate(product(range(models), enumerate(texts))):
        yield _Question(number, variant, length, depth, text)


def _load(variant: Variant, config: PasskeyConfig, host: Host, context: TaskContext) -> LoadedModel:
    context.emit("log", text=f"Loading {variant.label}")
    engine_config = EngineConfig(template=config.template, dtype=config.dtype, engine=config.engine, slots=1)
    return load_resolved_model(variant.resolved, host, engine_config)


def _answer(
    loaded: LoadedModel,
    variant: Variant,
    questions: Sequence[_Question],
    config: PasskeyConfig,
    context: TaskContext,
    work: WorkLog,
    progress: TaskProgress,
) -> bool:
    """Answer all questions of one model; False if asked to finish."""
    too_long = {question.length for question in questions if question.length > loaded.engine.context_length}
    if too_long:
        named = ", ".join(f"{length:,}" for length in sorted(too_long))
        text = f"{variant.label} takes {loaded.engine.context_length:,} tokens at most; {named} left out."
        context.emit("log", text=text)
    for question in questions:
        stop = context.stop_requested()
        if stop == "save":
            raise Interrupted
        if stop == "finish":
            return False
        work.add(question.number, {} if question.length in too_long else _answered(loaded, question, config.seed))
        progress.advance(question.length, 0 if question.length in too_long else question.length)
    return True


def _answered(loaded: LoadedModel, question: _Question, seed: int) -> dict[str, Any]:
    def ids_of(text: str) -> list[int]:
        return loaded.encoder.prompt_ids([Message("user", text)])

    key = passkey_of(seed, question.text)
    prompt = haystack(lambda text: len(ids_of(text)), question.length - _SAMPLING.max_new_tokens, question.depth, key)
    with generate(loaded, [ids_of(prompt.text)], _SAMPLING) as deltas:
        answer = "".join(delta.answer for delta in deltas if delta.stats is not None)
    at = round(prompt.at / len(prompt.text), 4)
    return {"tokens": prompt.tokens, "at": at, "key": key, "answer": answer, "found": key_found(answer, key)}


def _write(
    config: PasskeyConfig,
    context: TaskContext,
    compared: Sequence[Variant],
    answers: Mapping[_Question, Mapping[str, Any]],
    contract: TemplateContract | None,
    progress: TaskProgress,
) -> Mapping[str, Any]:
    answered = {question: answer for question, answer in answers.items() if answer}
    if not answers:
        raise DataError("the evaluation was asked to finish before a text was asked about.")
    if not answered:
        raise ModelError(f"no model takes {config.lengths[0]:,} tokens; take shorter lengths, or RoPE scaling.")
    found_by = [_cells(number, config, answered) for number in range(len(compared))]
    results = {
        "evaluation": "passkey",
        "lengths": config.lengths,
        "depths": config.depths,
        "trials": config.trials,
        "variants": [variant.as_json() | {"cells": cells} for variant, cells in zip(compared, found_by, strict=True)],
    }
    context.output.mkdir(parents=True)
    with (context.output / ANSWERS).open("w", encoding="utf-8") as file:
        for question, answer in answered.items():
            where = {"model": compared[question.variant].label, "length": question.length, "depth": question.depth}
            file.write(json.dumps({**where, **answer}, ensure_ascii=False) + "\n")
    metrics = {
        **{f"found {variant.label}": _accuracy(cells) for variant, cells in zip(compared, found_by, strict=True)},
        "texts": len(answered),
        "seconds": round(progress.seconds, 2),
        "tokens_per_second": progress.tokens_per_second,
    }
    write_results(context, config, compared, results, metrics, passkey_figure, template=contract)
    return metrics


def _cells(
    variant: int, config: PasskeyConfig, answered: Mapping[_Question, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """By context length and depth: keys found, and texts answered."""
    cells = []
    for length in config.lengths:
        for depth in config.depths:
            own = [
                answer["found"]
                for question, answer in answered.items()
                if (question.variant, question.length, question.depth) == (variant, length, depth)
            ]
            cells.append({"length": length, "depth": depth, "found": sum(own), "of": len(own)})
    return cells


def _accuracy(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The share of keys found over all lengths and depths, with its interval."""
    sums = ScoreSums()
    for cell in cells:
        for number in range(cell["of"]):
            sums.add(float(number < cell["found"]))
    return sums.estimate().as_json() if sums.count else None
