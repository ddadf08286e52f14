"""Multiple choice in two ways: by the likelihood of each option, and by what an answer in words names.

Knows records whose question lists options (`choices`). The question is asked as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from camelid_core.records import Message, Record

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

from .choices import Choices, choices_in, chosen


def _found(record: Record) -> tuple[Choices, int] | Skipped:
    choices = choices_in(record.prompt[-1].text, record.answer)
    if choices is None:
        return Skipped("it lists no options, two or more and all different")
    gold = chosen(record.answer, choices)
    return Skipped("its gold answer names none of its options") if gold is None else (choices, gold)


def _by_text(record: Record) -> Item | Skipped:
    found = _found(record)
    if isinstance(found, Skipped):
        return found
    choices, gold = found
    about = {"choices": choices, "right": gold}
    return Item(record.id, (record.prompt,), choices.listed[gold], cluster_of(record), about)


def _by_likelihood(record: Record) -> Item | Skipped:
    found = _found(record)
    if isinstance(found, Skipped):
        return found
    choices, gold = found
    prompts = tuple((*record.prompt, Message("assistant", f"The answer is {each}")) for each in choices.listed)
    return Item(record.id, prompts, choices.listed[gold], cluster_of(record), {"right": gold})


def _text_items(source: ItemSource) -> Iterator[Item | Skipped]:
    return record_items(source, _by_text)


def _likelihood_items(source: ItemSource) -> Iterator[Item | Skipped]:
    return record_items(source, _by_likelihood)


def _score_text(item: Item, answers: Sequence[Answer]) -> Mapping[str, float]:
    named = chosen(answers[0].text, item.about["choices"])
    return {"right": float(named == item.about["right"]), "stated": float(named is not None)}


def score_likelihood(item: Item, answers: Sequence[Answer]) -> Mapping[str, float]:
    """The likeliest conversation is the choice; of equal ones the first. The second measure divides by length."""
    plain = [answer.logprob for answer in answers]
    by_length = [answer.logprob / max(answer.characters, 1) for answer in answers]
    right = item.about["right"]
    highest = max(plain)
    probability = math.exp(plain[right] - highest) / math.fsum(math.exp(each - highest) for each in plain)
    return {
        "right": float(plain.index(highest) == right),
        "right-by-length": float(by_length.index(max(by_length)) == right),
        "probability": probability,
    }


EVALUATIONS = (
    Evaluation(
        "choice-likelihood",
        "Multiple choice: the right option is the likeliest answer. Files as AQuA's, ECQA's, QASC's and StrategyQA's.",
        (
            Measure("right", "The right option is the likeliest."),
            Measure("right-by-length", "The same by log-probability per character."),
            Measure("probability", "Probability of the right option among all."),
        ),
        _likelihood_items,
        score_likelihood,
        kind="likelihood",
    ),
    Evaluation(
        "choice-text",
        "Multiple choice: the answer in words names the right option. Files as AQuA's, ECQA's, QASC's, StrategyQA's.",
        (
            Measure("right", "The answer names the right option."),
            Measure("stated", "The answer names an option at all."),
        ),
        _text_items,
        _score_text,
        sampling={"max_new_tokens": 256},
    ),
)
