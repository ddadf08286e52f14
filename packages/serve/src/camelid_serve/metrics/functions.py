"""One answer against its reference, each way of comparing a function.

Knows texts. sacrebleu is imported when the first answer is compared with it.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from camelid_core.final_answers import final_answer, same_answer

_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff]")


def exact(answer: str, reference: str) -> float:
    return float(answer.split() == reference.split())


def numeric(answer: str, reference: str) -> float | None:
    if final_answer(reference) is None:
        return None
    return float(same_answer(answer, reference))


def bleu(answer: str, reference: str) -> float:
    """Chinese is cut into characters, anything else into words, as the reference is written. A text that is shorter
    than a run of four words is compared by the runs that it has."""
    scorer = _bleu("zh" if _HAN.search(reference) else "13a")
    value = float(scorer.sentence_score(answer, [reference]).score) / 100
    _forget(scorer.tokenizer)
    return value


def chrf(answer: str, reference: str) -> float:
    return float(_chrf().sentence_score(answer, [reference]).score) / 100


def _forget(tokenizer: Any) -> None:
    """sacrebleu keeps the last 65,536 texts it has cut up; in a million rows none of them comes again."""
    for each in (tokenizer, getattr(tokenizer, "_post_tokenizer", None)):
        clear = getattr(type(each).__call__, "cache_clear", None)
        if clear is not None:
            clear()


@functools.cache
def _bleu(tokenizer: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokenizer, effective_order=True)


@functools.cache
def _chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()
