"""The built-in dataset `cot-arithmetic`: word problems of 2 to 4 steps, each with a rationale and an exact answer.

Knows how problems are drawn, split and worded. Knows nothing of templates, tokenizers or files;
`camelid_core.final_answers` extracts the answer from a text.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import cycle
from typing import Literal, get_args

from camelid_core.errors import DataError
from camelid_core.records import Record, alpaca

from .shapes import PROBLEM_SHAPES, Numbers, ProblemShape
from .shapes_en import ENGLISH
from .shapes_zh import CHINESE
from .wording import Language

Split = Literal["train", "heldout"]
SOURCE = "cot-arithmetic"
LANGUAGES: dict[str, Language] = {"en": ENGLISH, "zh": CHINESE}
HELD_OUT_ONE_IN = 10
"""One problem in this many is held out."""


def generate(
    split: Split, rows: int, seed: int = 0, languages: tuple[str, ...] = ("en", "zh"), rejected: bool = False
) -> Iterator[Record]:
    """`rows` different records of a split, alternating between the languages, generated lazily.

    A problem belongs to one split in all languages. The text of a record follows from its id;
    the seed decides which are drawn, and in what order. With `rejected`, each has a rejected answer
    too, whose last step is wrong.

    Raises:
        DataError: at once if an argument does not fit; after the last record if there are fewer than `rows`.
    """
    _check(split, rows, languages)
    records = _generate(split, rows, seed, languages)
    return records if rejected else (replace(record, rejected=None) for record in records)


def split_of(shape: str, numbers: Iterable[int]) -> Split:
    """The split of a problem: the same in every language, and for the same numbers in another order."""
    return "train" if _checksum(shape, sorted(numbers)) % HELD_OUT_ONE_IN else "heldout"


def _check(split: str, rows: int, languages: tuple[str, ...]) -> None:
    if split not in get_args(Split):
        raise DataError(f"{SOURCE} has no split {split!r}. Choose train or heldout.")
    if rows < 0:
        raise DataError(f"{SOURCE} cannot make {rows} rows. Ask for 0 or more.")
    unknown = [language for language in languages if language not in LANGUAGES]
    if unknown or not languages or len(set(languages)) < len(languages):
        given = ", ".join(languages) or "none"
        raise DataError(
            f"{SOURCE} cannot use the languages {given}. Give each at most once, from: {', '.join(LANGUAGES)}."
        )


def _generate(split: Split, rows: int, seed: int, languages: tuple[str, ...]) -> Iterator[Record]:
    streams = [_stream(split, seed, language) for language in languages]
    for made, stream in zip(range(rows), cycle(streams), strict=False):
        record = next(stream, None)
        if record is None:
            raise DataError(
                f"{SOURCE} has only {made} different {split} rows in {' and '.join(languages)}, "
                f"but {rows} were asked for. Ask for at most {made}."
            )
        yield record


def _stream(split: Split, seed: int, language: str) -> Iterator[Record]:
    """All records of a split in one language; each draw picks a shape that is not exhausted yet."""
    rng = random.Random(f"{SOURCE}/{split}/{seed}/{language}")
    live = [(shape, _solved(shape, shape.shuffled_assignments(rng), split)) for shape in PROBLEM_SHAPES]
    while live:
        pick = rng.randrange(len(live))
        shape, problems = live[pick]
        problem = next(problems, None)
        if problem is None:
            del live[pick]
        else:
            yield _record(shape, problem, language)


def _solved(
    shape: ProblemShape, shuffled_assignments: Iterator[Numbers], split: Split
) -> Iterator[dict[str, int | str]]:
    for numbers in shuffled_assignments:
        if split_of(shape.name, numbers.values()) == split and (solved := shape.solve(numbers)):
            yield solved


def _record(shape: ProblemShape, solved: dict[str, int | str], code: str) -> Record:
    language = LANGUAGES[code]
    wording = language.wordings[shape.name]
    numbers = [solved[name] for name in shape.given]
    choice = _checksum("words", shape.name, numbers)
    who, names = choice % len(language.names), len(language.names)
    words: dict[str, int | str] = {
        "who": language.names[who],
        "other": language.names[(who + 1 + choice // 7 % (names - 1)) % names],
        "thing": wording.things[choice // 53 % len(wording.things)],
        "result": solved[f"r{len(shape.steps)}"],
    }
    question = wording.question.format(**solved, **words)
    answer = wording.rationale + language.answer
    key = "-".join(map(str, [code, shape.name, *numbers]))
    return replace(
        alpaca(question, answer.format(**solved, **words)),
        id=key,
        source=SOURCE,
        tags=(code, shape.name, f"steps-{len(shape.steps)}"),
        rejected=answer.format(**_with_wrong_result(shape, solved, words)),
    )


def _with_wrong_result(
    shape: ProblemShape, solved: dict[str, int | str], words: dict[str, int | str]
) -> dict[str, int | str]:
    """The same values, but the last step's result is off by 1 to 3."""
    last = len(shape.steps)
    off = _checksum("slip", shape.name, [solved[name] for name in shape.given])
    result = int(solved[f"r{last}"])
    wrong = result + off % 3 + 1 if off & 8 or result <= 3 else result - off % 3 - 1
    step = str(solved[f"s{last}"]).rpartition(" ")[0]
    return {**solved, **words, f"r{last}": wrong, f"s{last}": f"{step} {wrong}", "result": wrong}


def _checksum(*parts: object) -> int:
    return zlib.crc32(repr(parts).encode())
