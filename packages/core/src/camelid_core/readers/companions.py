"""Columns beside a question and its answer: context, options, history, rationale and system.

Knows their names and the rule by which each takes part. Knows nothing of files or row formats.

- Context (`input`, `context`) is the question's material; if a row has both, the one follows the other.
- Options are lines after the question.
- History are turns before the question.
- A rationale stands before the answer, in the words of FLAN's chain of thought.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from camelid_core.records import Message

from .reader import ReadContext, Row
from .row_faults import RowFault
from .text_values import excerpt, is_absent, text
from .turns import pairs, parsed, turns

CONTEXT_COLUMNS = ("input", "context")
OPTIONS_COLUMNS = ("options", "choices")
RATIONALE_COLUMNS = ("rationale", "chain_of_thought")
SYSTEM_COLUMNS = ("system", "system_prompt")

_LABELLED = re.compile(r"\s*\(?[A-Za-z0-9][).:]")
_SENTENCE_END = (".", "!", "?", "。", "！", "？")


def first_text(row: Row, *names: str) -> str:
    """The first text under `names` that is not empty; a missing key and null mean no text, 0 and false do not."""
    for name in names:
        value = row.get(name)
        if not is_absent(value) and value != "":
            return text(value, name)
    return ""


def context_of(row: Row, question_column: str = "") -> str:
    """The context of a question that stands in `question_column`."""
    found = [first_text(row, name) for name in CONTEXT_COLUMNS if name in row and name != question_column]
    return text("\n".join(filter(None, found)), "context")


def earlier_turns(row: Row, read_context: ReadContext) -> list[Message]:
    """System text and history: the turns before the question."""
    return [*system_of(row), *history_of(row, read_context)]


def system_of(row: Row) -> list[Message]:
    system = first_text(row, *SYSTEM_COLUMNS)
    return [Message("system", system)] if system else []


def history_of(row: Row, read_context: ReadContext) -> list[Message]:
    """A list of (question, answer) pairs, or one of messages."""
    history = parsed(row["history"], "history") if row.get("history") else []
    if isinstance(history, list) and history and all(isinstance(turn, Mapping) for turn in history):
        return turns(history, "history", read_context.faults)
    return pairs(history, "history")


def with_options(question: str, row: Row) -> str:
    """The question with its options: a list of texts, texts by their letters, or the Hub's `text` and `label` lists."""
    name = next((name for name in OPTIONS_COLUMNS if row.get(name)), "")
    if not name:
        return question
    options = parsed(row[name], name)
    if isinstance(options, str):
        lines = [text(options, name)]
    elif isinstance(options, Mapping) and isinstance(options.get("text"), list):
        lines = _labelled(options["text"], options.get("label"), name)
    elif isinstance(options, Mapping):
        lines = _labelled(list(options.values()), list(options), name)
    elif isinstance(options, list):
        lines = _labelled(options, None, name)
    else:
        raise RowFault("no_text", f"expected a list of options, not {excerpt(options)}.", f", {name!r}")
    return text("\n".join([question, *lines]), name)


def _labelled(options: Sequence[Any], labels: Any, name: str) -> list[str]:
    texts = [text(str(option) if isinstance(option, int | float) else option, name) for option in options]
    if labels is None and all(map(_LABELLED.match, texts)):
        return texts
    letters = labels if isinstance(labels, list) and len(labels) == len(texts) else ascii_uppercase
    if len(letters) < len(texts):
        raise RowFault("no_text", f"{len(texts)} options, more than there are letters.", f", {name!r}")
    return [f"({letter}) {option}" for letter, option in zip(letters, texts, strict=False)]


def with_rationale(answer: str, row: Row) -> str:
    """The answer after its rationale: "rationale, newline, The answer is 12."; a whole sentence stays as it is."""
    rationale = first_text(row, *RATIONALE_COLUMNS)
    if not rationale:
        return answer
    whole = not answer or "\n" in answer or answer.endswith(_SENTENCE_END)
    return text("\n".join(filter(None, [rationale, answer if whole else f"The answer is {answer}."])), "rationale")
