"""Evaluations of what answers look like, whatever they say: the share of Chinese in answers to Chinese prompts, and
answers that end in hashtags (which small models pick up from social media). Knows texts; needs no gold answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from camelid_core.quality.row_lints import ends_in_hashtags
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

_CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_LETTER = re.compile(r"[^\W\d_]")
_LEAST_SHARE = 0.3
"""A prompt is Chinese from this share on: names and code in it may be Latin."""


def chinese_share(text: str) -> float | None:
    """The share of Chinese characters in the letters of a text; None where it has no letters."""
    letters = _LETTER.findall(text)
    return len(_CHINESE.findall(text)) / len(letters) if letters else None


def _chinese(record: Record) -> Item | Skipped:
    share = chinese_share("\n".join(message.text for message in record.prompt if message.role == "user"))
    if share is None or share < _LEAST_SHARE:
        return Skipped("its prompt is not Chinese")
    return Item(record.id, (record.prompt,), record.answer, cluster_of(record))


def _any(record: Record) -> Item | Skipped:
    return Item(record.id, (record.prompt,), record.answer, cluster_of(record))


def _chinese_items(source: ItemSource) -> Iterator[Item | Skipped]:
    return record_items(source, _chinese)


def _all_items(source: ItemSource) -> Iterator[Item | Skipped]:
    return record_items(source, _any)


def _score_chinese(item: Item, answers: Sequence[Answer]) -> Mapping[str, float]:
    share = chinese_share(answers[0].text)
    return {"answered": float(share is not None)} | ({} if share is None else {"share": share})


def _score_hashtags(item: Item, answers: Sequence[Answer]) -> Mapping[str, float]:
    return {"leak": float(ends_in_hashtags(answers[0].text))}


EVALUATIONS = (
    Evaluation(
        "chinese-share",
        "The share of Chinese characters in the answers to Chinese prompts; other prompts are skipped, and answers "
        "without a letter have none.",
        (
            Measure("share", "Chinese characters among the letters of the answer."),
            Measure("answered", "The answer has letters."),
        ),
        _chinese_items,
        _score_chinese,
        data="cot-arithmetic-zh",
        sampling={"max_new_tokens": 128},
    ),
    Evaluation(
        "hashtag-leak",
        "Answers that end in #hashtags.",
        (Measure("leak", "The answer ends in hashtags.", better="lower"),),
        _all_items,
        _score_hashtags,
        data="cot-arithmetic-en",
        sampling={"max_new_tokens": 256},
    ),
)
