"""A task of the harness as an evaluation: its rows are items, its rules the scores.

Knows the harness's tasks, their instances and filters. Knows no engine: `HarnessModel` asks that.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

from camelid_core.errors import CamelidError, DataError, UsageError
from camelid_core.plugins import Host
from camelid_core.records import Message
from camelid_serve.engine import Sampling
from camelid_serve.evaluations.evaluation import Answer, Evaluation, Item, ItemSource, Measure, Outcome
from camelid_serve.loaded_models import LoadedModel
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.api.task import ConfigurableTask, Task
from lm_eval.defaults import DEFAULT_OTHER_SEED

from .language_model import HarnessModel, message_of
from .task_config import task_config

_ITEMS_AT_ONCE = 64
"""Items that are asked between two looks at whether the job is to stop."""
LIKELIHOOD = "log-likelihood"
_SHARES = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match")
"""Metrics that are right or wrong of each item."""


def as_text(reference: str, data: str, host: Host) -> Evaluation:
    """The task as the harness asks it: running text, no template."""
    return _evaluation("lm-eval", reference, data, chat=False)


def as_conversation(reference: str, data: str, host: Host) -> Evaluation:
    """The task as a conversation in each model's template."""
    return _evaluation("lm-eval-chat", reference, data, chat=True)


def _evaluation(source: str, reference: str, data: str, chat: bool) -> Evaluation:
    name, _, shots = reference.partition("@")
    if shots and not shots.isdecimal():
        raise UsageError(f"{source}:{reference}: after @ comes the number of examples, as in {source}:{name}@5.")
    config = task_config(name, int(shots) if shots else None, data)
    return _HarnessTask(config, chat).evaluation(f"{source}:{config['task']}{f'@{shots}' if shots else ''}")


class _HarnessTask:
    """One task and its instances by item."""

    def __init__(self, config: Mapping[str, Any], chat: bool) -> None:
        self._chat = chat
        self._task = _built(config)
        self._instances: dict[str, list[Instance]] = {}
        self._filters = [each.name for each in self._task._filters]

    def evaluation(self, name: str) -> Evaluation:
        means, others = _metrics(self._task)
        better = self._task.higher_is_better()
        measures = [
            Measure(_measure(metric, each), f"{metric} of lm-eval", metric in _SHARES, _better(better.get(metric)))
            for each in self._filters
            for metric in means
        ]
        if self._task.OUTPUT_TYPE == "loglikelihood_rolling":
            measures.append(Measure(LIKELIHOOD, "log-likelihood of the whole text", share=False))
        if not measures:
            raise UsageError(
                f"task {self._task.config.task!r} has no measure that is a mean over items, of which an interval could "
                f"be told; it has {', '.join(others)}."
            )
        left = f" Left out, as they are no means over items: {', '.join(others)}." if others else ""
        longest = (self._task.config.generation_kwargs or {}).get("max_gen_toks")
        return Evaluation(
            name=name,
            help=f"{self._task.config.task}, version {self._task.VERSION}, of lm-evaluation-harness.{left}",
            measures=tuple(measures),
            items=self._items,
            score=self._score,
            data=f"lm-eval:{self._task.config.task}",
            sampling={"max_new_tokens": longest} if longest else {},
            ask=self._ask,
        )

    def _items(self, source: ItemSource) -> Iterator[Item]:
        self._instances.clear()
        self._task.set_fewshot_seed(DEFAULT_OTHER_SEED)
        with _refusals(self._task):
            self._task.build_all_requests(
                limit=source.rows,
                apply_chat_template=self._chat,
                fewshot_as_multiturn=self._chat,
                chat_template=_written_down if self._chat else None,
            )
        for instance in self._task.instances:
            self._instances.setdefault(str(instance.doc_id), []).append(instance)
        for name, instances in self._instances.items():
            instances.sort(key=lambda each: each.idx)
            requests = [[each.request_type, *map(str, each.args)] for each in instances]
            gold = self._task.doc_to_target(instances[0].doc)
            yield Item(name, (_conversation(requests[0][1]),), str(gold), about={"requests": requests})

    def _ask(
        self, loaded: LoadedModel, items: Sequence[tuple[int, Item]], sampling: Sampling, slots: int
    ) -> Generator[tuple[int, Outcome, int], None, None]:
        longest = sampling.max_new_tokens if "max_new_tokens" in sampling.model_fields_set else None
        model = HarnessModel(loaded, longest)
        waiting = iter(items)
        while window := list(islice(waiting, _ITEMS_AT_ONCE)):
            asked: list[tuple[int, list[Instance]]] = []
            for number, item in window:
                try:
                    instances = [self._rendered(model, each) for each in self._instances[item.id]]
                    for each in instances:
                        model.check(each)
                except CamelidError as error:
                    yield number, error, 0
                else:
                    asked.append((number, instances))
            answers = iter(_answered(model, [each for _, group in asked for each in group]))
            tokens, model.tokens = model.tokens // max(1, len(asked)), 0
            for number, group in asked:
                yield number, tuple(next(answers) for _ in group), tokens

    def _rendered(self, model: HarnessModel, instance: Instance) -> Instance:
        if not self._chat or instance.request_type == "loglikelihood_rolling":
            return instance
        context, *rest = instance.args
        text = model.apply_chat_template(json.loads(context)) if context else context
        return replace(instance, arguments=(text, *rest), resps=[], filtered_resps={})

    def _score(self, item: Item, answers: Sequence[Answer]) -> dict[str, float]:
        """By measure; one that the task does not tell of this item is left out."""
        instances = self._instances[item.id]
        for instance, answer in zip(instances, answers, strict=True):
            instance.resps = [_response(instance, answer)]
        scores: dict[str, float] = {}
        for ensemble in self._task._filters:
            ensemble.apply(instances)
            found = self._task.process_results(
                instances[0].doc, [each.filtered_resps[ensemble.name] for each in instances]
            )
            means, _ = _metrics(self._task)
            scores |= {_measure(name, ensemble.name): float(found[name]) for name in means if name in found}
        if self._task.OUTPUT_TYPE == "loglikelihood_rolling":
            scores[LIKELIHOOD] = answers[0].logprob
        return scores


def _built(config: Mapping[str, Any]) -> Task:
    with _refusals(config):
        task = ConfigurableTask(config=dict(config))
    if task.config.repeats > 1:
        raise UsageError(f"task {task.config.task!r} asks each question {task.config.repeats} times; set repeats: 1.")
    return task


@contextmanager
def _refusals(task: Any) -> Iterator[None]:
    """The harness's errors, mostly of missing data or columns, as sentences."""
    try:
        yield
    except CamelidError:
        raise
    except Exception as error:
        name = task.get("task") if isinstance(task, Mapping) else task.config.task
        raise DataError(
            f"task {name!r} cannot be built: {type(error).__name__}: {error}. Its rows may lack a column that it reads."
        ) from error


def _metrics(task: Task) -> tuple[list[str], list[str]]:
    """Metrics that are means over items, and all others."""
    by_name = task.aggregation()
    return [name for name in by_name if by_name[name] is mean], [name for name in by_name if by_name[name] is not mean]


def _measure(metric: str, by_filter: str) -> str:
    return metric if by_filter == "none" else f"{metric} ({by_filter})"


def _better(higher: bool | None) -> Any:
    return "neither" if higher is None else "higher" if higher else "lower"


def _written_down(history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
    """A conversation before any model is known."""
    return json.dumps(history, ensure_ascii=False)


def _conversation(context: str) -> tuple[Message, ...]:
    """What a page shows of an item."""
    try:
        return tuple(map(message_of, json.loads(context)))
    except (ValueError, TypeError, KeyError):
        return (Message("user", context),)


def _answered(model: HarnessModel, instances: Sequence[Instance]) -> list[Answer]:
    kind = instances[0].request_type if instances else ""
    if kind == "generate_until":
        return [Answer(text=text) for text in model.generate_until(instances)]
    if kind == "loglikelihood_rolling":
        return [Answer(logprob=total) for total in model.loglikelihood_rolling(instances)]
    return [Answer(logprob=total, greedy=greedy) for total, greedy in model.loglikelihood(list(instances), True)]


def _response(instance: Instance, answer: Answer) -> Any:
    if instance.request_type == "generate_until":
        return answer.text
    return answer.logprob if instance.request_type == "loglikelihood_rolling" else (answer.logprob, answer.greedy)
