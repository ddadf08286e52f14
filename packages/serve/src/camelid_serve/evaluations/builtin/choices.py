"""Choices in a text: the options that a question lists, which of them its answer names, and which an answer of a model
does.

Knows the forms of AQuA, ECQA, QASC and StrategyQA in FLAN's chain-of-thought files: options behind `Options:`, one a
line, with letters or dashes, line ends also written as a backslash and an n; and, behind the last option, a sentence
that asks for reasoning. Knows nothing of records and models.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LETTERS = "ABCDEFGHIJ"
_OPTIONS = re.compile(r"\boptions?\s*:\s*", re.IGNORECASE)
_LETTERED = re.compile(r"^[-*\s]*\(?([A-J])[).:]\)?\s*(.*)$")
_DASHED = re.compile(r"^\s*[-*]\s+(.*)$")
_REQUEST = re.compile(
    r"\s+(?:(?:Hmmm|OK\.|Now,|Another student:|Let's|Let me|Please (?:answer|think)|Think (?:first|carefully)|Chain of|"
    r"Some (?:random|stream)|Stream of|Random thoughts|Step-by-step|Reasoning process|The thinking starts|I don't want|"
    r"My (?:thoughts|step)|(?:First )?think)\b.*)$",
    re.IGNORECASE | re.DOTALL,
)
"""The sentence behind the last option that asks for reasoning: it is no part of the option."""
_YES_NO = ("yes", "no")
_STATED = re.compile(
    r"(?:answer|result|choice|option)\s*(?:is|:)?\s*(?:option\s*)?[(\[]?([A-J])(?:[)\].,:]|\s*$)", re.I
)
_ALONE = re.compile(r"^\s*[(\[]?([A-J])(?:[)\].:,]|\s*$)")
_BRACKETED = re.compile(r"\(([A-J])\)")


@dataclass(frozen=True, slots=True)
class Choices:
    """The question before its options, the options, and whether they have letters."""

    question: str
    options: tuple[str, ...]
    lettered: bool

    @property
    def listed(self) -> tuple[str, ...]:
        """What an answer may name: `(A)`, or the option itself."""
        return tuple(f"({letter})" for letter in LETTERS[: len(self.options)]) if self.lettered else self.options


def choices_in(question: str, answer: str) -> Choices | None:
    """The options of a question; of one that lists none yes and no, where `answer` is one of them. None otherwise."""
    text = question.replace("\\n", "\n")
    found = _OPTIONS.search(text)
    if found is None:
        plain = _last_line_word(answer)
        return Choices(text.strip(), _YES_NO, False) if plain in _YES_NO else None
    options, lettered = _options(text[found.end() :])
    if len(options) < 2:
        return None
    return Choices(text[: found.start()].strip(), options, lettered)


def _options(text: str) -> tuple[tuple[str, ...], bool]:
    lines = [line for line in text.split("\n") if line.strip()]
    lettered = [match for line in lines if (match := _LETTERED.match(line))]
    marks = [match[1] for match in lettered]
    if len(marks) >= 2 and marks == list(LETTERS[: len(marks)]):
        texts, last = [match[2] for match in lettered], True
    else:
        texts, last = [match[1] for line in lines if (match := _DASHED.match(line))], False
    if texts:
        texts[-1] = _REQUEST.sub("", " " + texts[-1]).strip()
    cleaned = tuple(each.strip() for each in texts)
    return (cleaned, last) if all(cleaned) and len(set(cleaned)) == len(cleaned) else ((), last)


def chosen(answer: str, choices: Choices) -> int | None:
    """Which option an answer names, None for none: for options with letters the last letter that is stated as the
    answer, else the one that it begins with, else the last in brackets; else the option whose text stands last."""
    text = answer.replace("\\n", "\n")
    if choices.lettered:
        known = LETTERS[: len(choices.options)]
        for found in (_STATED.findall(text)[-1:], _ALONE.findall(text)[:1], _BRACKETED.findall(text)[-1:]):
            letters = [each.upper() for each in found if each.upper() in known]
            if letters:
                return known.index(letters[0])
    return _last_named(text, choices.options)


def _last_named(text: str, options: tuple[str, ...]) -> int | None:
    """The option that ends last in the text; of several that end there, the longest."""
    low = text.lower()
    ends: list[tuple[int, int, int]] = []
    for number, option in enumerate(options):
        pattern = rf"(?<![\w-]){re.escape(option.lower())}(?![\w-])"
        if found := list(re.finditer(pattern, low)):
            ends.append((found[-1].end(), len(option), number))
    return max(ends)[2] if ends else None


def _last_line_word(answer: str) -> str:
    words = re.findall(r"[a-z]+", answer.lower())
    return words[-1] if words else ""
