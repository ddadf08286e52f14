"""GSM8K and BBH: questions with worked examples before them. Knows their files, and how the answer is read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from typing import Any

from camelid_core.builtin.cot_arithmetic import generate
from camelid_core.errors import DataError

from camelid_serve.evaluations.evaluation import Answer, Evaluation, Item, ItemSource, Measure, Skipped

from .prompts import conversation, evenly, field, json_rows, sampled, text_of
from .suite import SuiteTask

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?|-?\.\d+")
_RIGHT = (Measure("right", "The answer is exactly the right one."), Measure("stated", "An answer is stated at all."))


def gsm(task: SuiteTask) -> Evaluation:
    """`test.jsonl` with question and answer (`… #### 72`); `examples.jsonl` with question, rationale and answer, where
    it is there, else problems of `cot-arithmetic`. Settings: `rationale`, `examples`, `sample`, `prefix`, `begun`."""
    return Evaluation(
        task.name, task.help, _RIGHT, partial(_gsm_items, settings=task.settings), _score_number, sampling=task.sampling
    )


def _gsm_items(source: ItemSource, settings: Mapping[str, Any]) -> Iterator[Item | Skipped]:
    path = Path(source.data)
    shown = "\n\n".join(_gsm_examples(path.parent / "examples.jsonl", settings))
    for number, row in sampled(list(enumerate(json_rows(path))), settings.get("sample"))[: source.rows]:
        gold = last_number(str(field(row, "answer", path)).rpartition("####")[2])
        if gold is None:
            yield Skipped("its answer states no number behind ####")
            continue
        question = f"{settings['prefix']}{shown}\n\nQuestion: {str(field(row, 'question', path)).strip()}"
        yield Item(f"gsm-{number}", (conversation(question, str(settings["begun"])),), str(gold), about={"gold": gold})


def _gsm_examples(path: Path, settings: Mapping[str, Any]) -> Iterator[str]:
    count = int(settings.get("examples", 8))
    if path.is_file():
        rows = [
            (field(row, "question", path), field(row, "rationale", path), field(row, "answer", path))
            for row in json_rows(path)
        ]
    else:
        rows = [
            _own_example(record.prompt[-1].text, record.answer)
            for record in generate("train", count, languages=("en",))
        ]
    for question, rationale, answer in rows[:count]:
        yield f"Question: {question}\nAnswer: {rationale if settings.get('rationale') else answer}"


def _own_example(question: str, answer: str) -> tuple[str, str, str]:
    return question, answer, str(last_number(answer))


def last_number(text: str) -> Decimal | None:
    """The last number of a text, with its sign and without commas: 0 is one, and so is -3."""
    found = _NUMBER.findall(text.replace("\u2212", "-"))
    try:
        return Decimal(found[-1].replace(",", "").rstrip(".")).normalize() + 0 if found else None
    except InvalidOperation:
        return None


def _score_number(item: Item, answers: Sequence[Answer]) -> Mapping[str, float]:
    found = last_number(answers[0].text)
    return {"right": float(found == item.about["gold"]), "stated": float(found is not None)}


def bbh(task: SuiteTask) -> Evaluation:
    """`bbh/TASK.json` (`examples` with input and target) and `cot-prompts/TASK.txt`, as they are published. Settings:
    `rationale`, `sample` for each task, `pattern` that the answer is in, `begun`."""
    pattern = re.compile(str(task.settings["pattern"]))
    return Evaluation(
        task.name,
        task.help,
        _RIGHT,
        partial(_bbh_items, settings=task.settings),
        partial(_score_pattern, pattern=pattern),
        sampling=task.sampling,
    )


def _bbh_items(source: ItemSource, settings: Mapping[str, Any]) -> Iterator[Item | Skipped]:
    root = Path(source.data)
    files = sorted((root / "bbh").glob("*.json"))
    if not files:
        raise DataError(f"{str(root / 'bbh')!r} has no task files *.json; put BIG-Bench-Hard's there.")
    yield from evenly([_bbh_task(path, root, settings) for path in files], source.rows)


def _bbh_task(path: Path, root: Path, settings: Mapping[str, Any]) -> list[Item]:
    shown = _bbh_examples(text_of(root / "cot-prompts" / f"{path.stem}.txt"), settings)
    rows = [each for row in json_rows(path) for each in field(row, "examples", path)]
    items = []
    for number, row in sampled(list(enumerate(rows)), settings.get("sample")):
        question = f"{shown}\n\nQ: {field(row, 'input', path)}"
        prompt = conversation(question, str(settings["begun"]))
        items.append(Item(f"{path.stem}-{number}", (prompt,), str(field(row, "target", path)), "", {}, path.stem))
    return items


def _bbh_examples(text: str, settings: Mapping[str, Any]) -> str:
    """The worked examples without the canary above them; without a rationale only their answers."""
    plain = text.partition("-----\n")[2] or text
    if settings.get("rationale"):
        return plain.strip()
    return re.sub(
        r"A: Let's think step by step\..*?So the answer is (.*?)\.(?=\s*(?:\n\n|\Z))", r"A: \1", plain, flags=re.DOTALL
    ).strip()


def _score_pattern(item: Item, answers: Sequence[Answer], pattern: re.Pattern[str]) -> Mapping[str, float]:
    found = pattern.search(answers[0].text)
    text = found[1] if found else answers[0].text
    return {"right": float(_bare(text) == _bare(item.gold)), "stated": float(found is not None)}


def _bare(text: str) -> str:
    return text.strip().rstrip(".").strip()
