"""One answer against its gold answer (reference), a function for each metric.

Knows texts. sacrebleu is imported when the first answer is compared with it.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from camelid_core.final_answers import final_answer, same_answer

_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff]")


def exact(answer: str, gold: str) -> float:
    return float(answer.split() == gold.split())


def numeric(answer: str, gold: str) -> float | None:
    if final_answer(gold) is None:
        return None
    return float(same_answer(answer, gold))


def bleu(answer: str, gold: str) -> float:
    """Sentence BLEU. Chinese is split into characters, other text into words, by the script of the gold answer. A text
    shorter than four words is compared by the n-grams that it has (effective order)."""
    scorer = _bleu("zh" if _HAN.search(gold) else "13a")
    value = float(scorer.sentence_score(answer, [gold]).score) / 100
    _clear_cache(scorer.tokenizer)
    return value


def chrf(answer: str, gold: str) -> float:
    return float(_chrf().sentence_score(answer, [gold]).score) / 100


def _clear_cache(tokenizer: Any) -> None:
    """sacrebleu caches the last 65,536 texts it tokenised; in a million rows none of them comes again."""
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
