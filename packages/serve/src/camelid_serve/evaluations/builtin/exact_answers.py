"""Evaluations by exact final answers: the share that is right, whether a rationale stands before it, and what a suffix
changes. Knows records whose gold answers state a number or a boxed result (`camelid_core.final_answers`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from camelid_core.final_answers import final_answer, same_answer
from camelid_core.records import Record

from camelid_serve.evaluations.evaluation import (
    Answer,
    Evaluation,
    Item,
    ItemSource,
    Measure,
    Skipped,
    cluster_of,
    record_items,
)
from camelid_serve.presets import SUFFIXES, NamedText, with_suffix

_DEFAULT = "cot-arithmetic-en"
_LENGTH = {"max_new_tokens": 256}
_WORDS = re.compile(r"[\u3400-\u9fff]{2}|(?:(?![\u3400-\u9fff])[^\W\d_]){2,}|\d+\s*[-+*/×÷]\s*\d+")
"""What a rationale is made of: words, two Chinese characters, or a calculation."""
_LEAST_WORDS = 3


def rationale_first(text: str) -> bool:
    """Whether a rationale stands before the final answer: three words or calculations, in front of the place where the
    answer is stated for the last time."""
    answer = final_answer(text)
    if answer is None:
        return False
    at = text.replace(",", "").rfind(answer)
    before = text[: at if at >= 0 else len(text)]
    stated = re.split(r"(?i)(?:the\s+)?(?:final\s+)?answer|答案|####", before)
    return len(_WORDS.findall(stated[0] if len(stated) > 1 else before)) >= _LEAST_WORDS


def _item(make_prompts: Callable[[Record], tuple[Record, ...]], record: Record) -> Item | Skipped:
    if final_answer(record.answer) is None:
        return Skipped("its gold answer states nothing that can be compared exactly")
    prompts = tuple(each.prompt for each in make_prompts(record))
    return Item(record.id, prompts, record.answer, cluster_of(record))


def _items(source: ItemSource, make_prompts: Callable[[Record], tuple[Record, ...]]) -> Iterator[Item | Skipped]:
    return record_items(source, partial(_item, make_prompts))


def _as_it_is(record: Record) -> tuple[Record, ...]:
    return (record,)


def _with_and_without(suffix: NamedText, record: Record) -> tuple[Record, ...]:
    *before, question, answer = record.messages
    suffixed = replace(question, content=with_suffix(question.content, suffix.text))
    return record, replace(record, messages=(*before, suffixed, answer))


def _score(item: Item, answers: Sequence[Answer]) -> Mapping[str, float]:
    text = answers[0].text
    found = {"right": float(same_answer(text, item.gold)), "stated": float(final_answer(text) is not None)}
    if final_answer(text) is not None:
        found["rationale-first"] = float(rationale_first(text))
    return found


def _score_rationale(item: Item, answers: Sequence[Answer]) -> Mapping[str, float]:
    return {"rationale-first": float(rationale_first(answers[0].text))}


def _score_suffix(item: Item, answers: Sequence[Answer]) -> Mapping[str, float]:
    plain, suffixed = (float(same_answer(answer.text, item.gold)) for answer in answers)
    return {"delta": suffixed - plain, "plain": plain, "suffixed": suffixed}


_RATIONALE = Measure("rationale-first", "A rationale stands before the final answer, where one is stated.")

_SUFFIX_EVALUATIONS = tuple(
    Evaluation(
        f"suffix-{suffix.name}",
        f"What the suffix {suffix.text!r} adds to the share of right final answers: each question is asked with and "
        "without it.",
        (
            Measure("delta", "Right with the suffix minus right without it.", better="neither"),
            Measure("plain", "The final answer without the suffix is right."),
            Measure("suffixed", "The final answer with the suffix is right."),
        ),
        partial(_items, make_prompts=partial(_with_and_without, suffix)),
        _score_suffix,
        data=_DEFAULT,
        sampling=_LENGTH,
    )
    for suffix in SUFFIXES.values()
)

EVALUATIONS = (
    Evaluation(
        "exact-answer",
        "The final answer is exactly right: a number, or what is in a box. Any file of questions and answers, such as "
        "GSM8K's.",
        (
            Measure("right", "The final answer is the gold answer's."),
            Measure("stated", "An answer is stated at all."),
            _RATIONALE,
        ),
        partial(_items, make_prompts=_as_it_is),
        _score,
        data=_DEFAULT,
        sampling=_LENGTH,
    ),
    Evaluation(
        "rationale-first",
        "A rationale stands before the final answer, whether that is right or not; an answer that states none counts "
        "as without.",
        (Measure("rationale-first", "A rationale stands before the final answer."),),
        partial(_items, make_prompts=_as_it_is),
        _score_rationale,
        data=_DEFAULT,
        sampling=_LENGTH,
    ),
    *_SUFFIX_EVALUATIONS,
)
