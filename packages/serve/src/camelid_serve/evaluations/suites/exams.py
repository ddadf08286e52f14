"""Exam questions: MMLU (four choices by likelihood) and MMCU (letters in words). Knows their files and prompts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from camelid_core.errors import DataError

from camelid_serve.evaluations.builtin.multiple_choice import score_likelihood
from camelid_serve.evaluations.evaluation import Answer, Evaluation, Item, ItemSource, Measure, Skipped

from .prompts import conversation, csv_rows, evenly, field, json_rows
from .suite import SuiteTask

LETTERS = "ABCD"


def mmlu(task: SuiteTask) -> Evaluation:
    """`dev/SUBJECT_dev.csv` and `test/SUBJECT_test.csv`, each row a question, four choices and a letter. Settings:
    `shots` examples of the subject, `most_tokens` from which on examples are left out, `header`, `begun`."""
    measures = (
        Measure("right", "The right letter is the likeliest of A to D."),
        Measure("probability", "Probability of the right letter among the four."),
    )
    return Evaluation(
        task.name, task.help, measures, partial(_mmlu_items, settings=task.settings), score_likelihood, "likelihood"
    )


def _mmlu_items(source: ItemSource, settings: Mapping[str, Any]) -> Iterator[Item | Skipped]:
    root, shots = Path(source.data), int(settings.get("shots", 0))
    tests = sorted((root / "test").glob("*_test.csv"))
    if not tests:
        raise DataError(f"{str(root / 'test')!r} has no files *_test.csv; put MMLU's there.")
    groups = [_subject(path, root, shots, settings) for path in tests]
    yield from evenly(groups, source.rows)


def _subject(path: Path, root: Path, shots: int, settings: Mapping[str, Any]) -> list[Item]:
    subject = path.stem.removesuffix("_test")
    examples = csv_rows(root / "dev" / f"{subject}_dev.csv", 6)[:shots] if shots else []
    head = str(settings["header"]).replace("{subject}", subject.replace("_", " "))
    items = []
    for number, row in enumerate(csv_rows(path, 6)):
        variants = [
            _mmlu_prompts(head, examples[:count], row, str(settings["begun"])) for count in range(len(examples), -1, -1)
        ]
        about = {"right": LETTERS.index(row[5].strip())}
        most = int(settings.get("most_tokens", 0))
        shorter = tuple(variants[1:])
        items.append(Item(f"{subject}-{number}", variants[0], row[5].strip(), "", about, subject, shorter, most))
    return items


def _mmlu_prompts(head: str, examples: Sequence[Sequence[str]], row: Sequence[str], begun: str) -> tuple[Any, ...]:
    shown = "".join(f"{_mmlu_question(each)} {each[5].strip()}\n\n" for each in examples)
    question = f"{head}\n\n{shown}{_mmlu_question(row)}".strip()
    return tuple(conversation(question, f"{begun} {letter}") for letter in LETTERS)


def _mmlu_question(row: Sequence[str]) -> str:
    choices = "".join(f"\n{letter}. {text}" for letter, text in zip(LETTERS, row[1:5], strict=True))
    return f"{row[0]}{choices}\nAnswer:"


_LETTERS_FIRST = re.compile(r"[A-D](?:\s*[,，、和]?\s*[A-D])*")


def mmcu(task: SuiteTask) -> Evaluation:
    """A JSON array of 类别, 题目, 选项 and 答案, one letter or several. Settings: `prompt` with {题目} and {选项}."""
    measures = (
        Measure("right", "The letters that the answer names first are the right ones."),
        Measure("stated", "The answer names letters at all."),
    )
    return Evaluation(
        task.name, task.help, measures, partial(_mmcu_items, settings=task.settings), _score_letters,
        sampling=task.sampling,
    )  # fmt: skip


def _mmcu_items(source: ItemSource, settings: Mapping[str, Any]) -> Iterator[Item | Skipped]:
    path, groups = Path(source.data), {}  # type: ignore[var-annotated]
    for number, row in enumerate(json_rows(path)):
        kind, asked, options, gold = (field(row, name, path) for name in ("类别", "题目", "选项", "答案"))
        letters = named_letters(str(gold))
        if not letters:
            yield Skipped("its 答案 names no letter from A to D")
            continue
        prompt = str(settings["prompt"]).replace("{题目}", str(asked)).replace("{选项}", _options(options))
        about = {"letters": letters, "row": {"C": kind, "Q": asked, "O": options, "A": gold}}
        groups.setdefault(kind, []).append(
            Item(f"mmcu-{number}", (conversation(prompt),), letters, "", about, str(kind))
        )
    yield from evenly(list(groups.values()), source.rows)


def _options(options: Any) -> str:
    if isinstance(options, dict):
        return "\n".join(f"{letter}. {text}" for letter, text in options.items())
    return "\n".join(map(str, options)) if isinstance(options, list) else str(options)


def named_letters(text: str) -> str:
    """The letters that a text names first, in order and each once: `B、D` → BD."""
    found = _LETTERS_FIRST.search(text.replace("（", "(").upper())
    return "".join(sorted(set(re.findall("[A-D]", found[0])))) if found else ""


def _score_letters(item: Item, answers: Sequence[Answer]) -> Mapping[str, float]:
    letters = named_letters(answers[0].text)
    return {"right": float(letters == item.about["letters"]), "stated": float(bool(letters))}
