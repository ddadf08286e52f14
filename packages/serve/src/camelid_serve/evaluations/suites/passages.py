"""TydiQA: questions in nine languages, with the passage that has the answer or without. Knows SQuAD's form of files and
its F1. Questions on one passage are a cluster."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from camelid_serve.evaluations.evaluation import Answer, Conversation, Evaluation, Item, ItemSource, Measure, Skipped

from .prompts import conversation, evenly, field, json_rows, sampled
from .suite import SuiteTask

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PARTS = (1.0, 0.75, 0.5, 0.25)


def tydiqa(task: SuiteTask) -> Evaluation:
    """`dev.json` and `train.json` of the gold-passage task, in SQuAD's form; an id begins with its language. Settings:
    `passage` says whether it is shown, `sample` for each language, `languages` with the four texts of each."""
    measures = (Measure("f1", "Words in common with a right answer (SQuAD's F1)."),)
    return Evaluation(
        task.name, task.help, measures, partial(_items, settings=task.settings), _score, sampling=task.sampling
    )


def _items(source: ItemSource, settings: Mapping[str, Any]) -> Iterator[Item | Skipped]:
    root = Path(source.data)
    questions, examples = _questions(root / "dev.json"), _questions(root / "train.json")
    groups = []
    for language in settings["languages"]:
        own = [each for each in questions if each["language"] == language]
        shown = sampled([each for each in examples if each["language"] == language], 1)[:1]
        groups.append([_item(each, shown, language, settings) for each in sampled(own, settings.get("sample"))])
    for left_out, count in Counter(
        each["language"] for each in questions if each["language"] not in settings["languages"]
    ).items():
        yield from (Skipped(f"language {left_out!r} has no texts in the suite") for _ in range(count))
    yield from evenly(groups, source.rows)


def _questions(path: Path) -> list[dict[str, Any]]:
    found = []
    for row in json_rows(path):
        for article in field(row, "data", path):
            for paragraph in field(article, "paragraphs", path):
                for question in field(paragraph, "qas", path):
                    name = str(field(question, "id", path))
                    golds = [str(field(each, "text", path)) for each in field(question, "answers", path)]
                    found.append(
                        {
                            "id": name,
                            "language": name.partition("-")[0],
                            "passage": str(field(paragraph, "context", path)),
                            "question": str(field(question, "question", path)),
                            "golds": golds,
                        }
                    )
    return found


def _item(
    question: Mapping[str, Any], shown: Sequence[Mapping[str, Any]], language: str, settings: Mapping[str, Any]
) -> Item:
    prompts = [(_prompt(question, shown, settings["languages"][language], settings, part),) for part in _PARTS]
    with_passage = bool(settings.get("passage"))
    cluster = question["passage"] if with_passage else ""
    return Item(
        question["id"],
        prompts[0],
        question["golds"][0] if question["golds"] else "",
        cluster,
        {"golds": question["golds"]},
        language,
        tuple(prompts[1:]) if with_passage else (),
        int(settings.get("most_tokens", 0)),
    )


def _prompt(
    question: Mapping[str, Any],
    shown: Sequence[Mapping[str, Any]],
    texts: Mapping[str, str],
    settings: Mapping[str, Any],
    part: float,
) -> Conversation:
    """`part` of each passage is shown, from its beginning."""

    def asked(each: Mapping[str, Any]) -> str:
        passage = each["passage"][: round(len(each["passage"]) * part)]
        before = f"{texts['passage']} {passage}\n" if settings.get("passage") else ""
        return f"{before}{texts['question']} {each['question']}"

    examples = "".join(f"{asked(each)}\n{texts['answer']} {each['golds'][0]}\n\n" for each in shown if each["golds"])
    instruction = texts["with_passage"] if settings.get("passage") else texts["without"]
    return conversation(f"{instruction}\n\n{examples}{asked(question)}", texts["answer"])


def _score(item: Item, answers: Sequence[Answer]) -> Mapping[str, float]:
    return {"f1": max((f1(answers[0].text, gold) for gold in item.about["golds"]), default=0.0)}


def f1(answer: str, gold: str) -> float:
    """SQuAD's F1 of words, without case, punctuation and English articles."""
    ours, theirs = _words(answer), _words(gold)
    common = sum((Counter(ours) & Counter(theirs)).values())
    if not common:
        return float(ours == theirs == [])
    precision, recall = common / len(ours), common / len(theirs)
    return 2 * precision * recall / (precision + recall)


def _words(text: str) -> list[str]:
    bare = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return _ARTICLES.sub(" ", bare).split()
