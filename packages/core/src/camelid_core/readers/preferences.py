"""Rows that say which of two answers is better, or whether an answer is good.

Knows the columns such data have: a question (text, messages or a conversation) with `chosen` and `rejected`, and the
labels of single answers. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from camelid_core.records import Message, Record

from .dialogue import dialogue
from .reader import ReadContext, Reader, Row, build_record
from .row_faults import RowFault
from .text_values import excerpt, text
from .turns import parsed, turns

CHOSEN, REJECTED = "chosen", "rejected"
PROMPT_COLUMNS = ("conversations", "conversation", "prompt", "instruction", "question", "query", "input")
"""Where the question stands, in the words of the formats."""
LABEL_COLUMNS = ("label", "kto_tag")
SAME_ANSWERS = "rows had the same answer chosen and rejected, which teaches nothing"

_LAST_ANSWER = "\n\nAssistant:"
_TRUTHS = {"true": True, "false": False}


def preference(row: Row, number: int, read_context: ReadContext) -> Record:
    """The better answer is the record's own, the other its `rejected`."""
    asked = _asked(row, read_context)
    better, worse = (_conversation(row[name], name, asked, read_context) for name in (CHOSEN, REJECTED))
    if better[:-1] != worse[:-1]:
        raise RowFault("no_pair", f"{CHOSEN!r} and {REJECTED!r} must answer the same; they part before the last turn.")
    if better[-1] == worse[-1]:
        read_context.faults.note(SAME_ANSWERS)
    return build_record(better, row, number, read_context, rejected=worse[-1].content)


def label_of(row: Row) -> bool | None:
    """What the row says of its answer; nothing where the column holds no truth value, as those of classes do."""
    value = next((row[name] for name in LABEL_COLUMNS if row.get(name) is not None), None)
    if isinstance(value, str):
        return _TRUTHS.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def _asked(row: Row, read_context: ReadContext) -> list[Message]:
    """The turns before the answers, as far as they have columns of their own."""
    name = next((name for name in PROMPT_COLUMNS if row.get(name) is not None), "")
    value = parsed(row.get(name), name)
    if isinstance(value, list):
        said = _turns(value, name, read_context)
    elif value is None:
        said = []
    else:
        context = text(row.get("input") or "", "input") if name == "instruction" else ""
        said = [Message("user", text(value, name), context)]
    system = next((row[key] for key in ("system", "system_prompt") if row.get(key)), "")
    has_system = bool(said) and said[0].role == "system"
    return said if has_system or not system else [Message("system", text(system, "system")), *said]


def _conversation(value: Any, name: str, asked: list[Message], read_context: ReadContext) -> list[Message]:
    """The whole conversation that ends with the answer in column `name`."""
    value = parsed(value, name)
    if isinstance(value, list | Mapping):
        said = _joined(asked, _turns(value, name, read_context))
    elif asked:
        said = [*asked, Message("assistant", text(value, name))]
    else:
        said = _transcript(text(value, name), name)
    if said[-1].role != "assistant" or len(said) < 2:
        raise RowFault("no_pair", f"{name!r} must end with an answer to something, not {excerpt(value)}.")
    return said


def _turns(value: Any, name: str, read_context: ReadContext) -> list[Message]:
    """A list of turns, or one by itself."""
    try:
        return turns([value] if isinstance(value, Mapping) else value, name, read_context.faults)
    except RowFault as fault:
        raise fault.within(f", {name!r}") from None


def _joined(asked: list[Message], said: list[Message]) -> list[Message]:
    """A list that does not begin with an answer is the whole conversation; its question is not asked twice."""
    if said[0].role == "assistant":
        return [*asked, *said]
    system = [turn for turn in asked[:1] if turn.role == "system" and said[0].role != "system"]
    return [*system, *said]


def _transcript(value: str, name: str) -> list[Message]:
    """`Human:` and `Assistant:` in turn, the answer last."""
    before, marker, answer = value.rpartition(_LAST_ANSWER)
    asked = dialogue(before + marker) if marker else []
    if not asked:
        raise RowFault(
            "no_pair", f"{name!r} answers nothing: there is no column {', '.join(map(repr, PROMPT_COLUMNS))}."
        )
    return [*asked, Message("assistant", answer.strip())]


PREFERENCES = Reader(
    "preferences",
    "A better and a worse answer: 'chosen' and 'rejected', with 'prompt', 'conversations' or nothing beside them.",
    preference,
    ((CHOSEN, REJECTED),),
)
