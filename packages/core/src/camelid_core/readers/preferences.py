"""Preference pairs (`chosen` and `rejected` answers to one prompt, for DPO) and labels of single answers (for KTO).

Knows the columns such data have: a prompt (text, messages or a conversation) with `chosen` and `rejected`, and
labels. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from camelid_core.records import Message, Record

from .companions import context_of, history_of, system_of, with_options
from .dialogue import dialogue
from .reader import ReadContext, Reader, Row, build_record
from .row_faults import Faults, RowFault
from .text_values import excerpt, is_absent, is_empty, text
from .turns import parsed, turns

CHOSEN, REJECTED = "chosen", "rejected"
PREFERRED, NOT_PREFERRED = "preferred_output", "non_preferred_output"
PROMPT_COLUMNS = ("conversations", "conversation", "prompt", "instruction", "question", "query", "input")
"""Columns that hold the prompt, in the names of the formats."""
LABEL_COLUMNS = ("label", "kto_tag")
SAME_ANSWERS = "rows had the same answer chosen and rejected, which teaches nothing"

_LAST_ANSWER = "\n\nAssistant:"
_LABELS = dict.fromkeys(
    ("true", "1", "1.0", "yes", "good", "chosen", "desirable", "positive", "correct", "like", "thumbs_up", "up"), True
) | dict.fromkeys(
    (
        "false",
        "0",
        "0.0",
        "no",
        "bad",
        "rejected",
        "undesirable",
        "negative",
        "incorrect",
        "dislike",
        "thumbs_down",
        "down",
    ),
    False,
)
"""Words of labels → whether the answer is a good one."""


def preference(row: Row, number: int, read_context: ReadContext) -> Record:
    """The chosen answer is the record's own, the other its `rejected`."""
    prompt = _prompt(row, read_context)
    chosen, rejected = (_conversation(row[name], name, prompt, read_context) for name in (CHOSEN, REJECTED))
    if chosen[:-1] != rejected[:-1]:
        raise RowFault("no_pair", f"{CHOSEN!r} and {REJECTED!r} must answer the same; they part before the last turn.")
    if chosen[-1] == rejected[-1]:
        read_context.faults.note(SAME_ANSWERS)
    return build_record(chosen, row, number, read_context, rejected=rejected[-1].content)


def openai_preference(row: Row, number: int, read_context: ReadContext) -> Record:
    """OpenAI's: the conversation in `input`, and two lists of one answer each."""
    given = row["input"]
    if not isinstance(given, Mapping):
        raise RowFault("no_turns", f"expected an object with 'messages', not {excerpt(given)}.", ", 'input'")
    unused = (f"input.{key}" for key, value in given.items() if key != "messages" and not is_empty(value))
    read_context.faults.add_unused("columns", unused)
    pair = {"prompt": given.get("messages"), CHOSEN: row[PREFERRED], REJECTED: row[NOT_PREFERRED]}
    metadata = {name: row[name] for name in ("id", "source", "tags") if name in row}
    return preference(pair | metadata, number, read_context)


def label_of(row: Row, faults: Faults) -> bool | None:
    """The label of the row's answer: a truth value, a number as trl reads it (0 is bad), or a word for either.

    None where the column holds something else, such as the name of a class, which is noted.
    """
    name = next((name for name in LABEL_COLUMNS if not is_absent(row.get(name))), "")
    value = row[name] if name else None
    if isinstance(value, bool | int | float):
        return bool(value)
    label = _LABELS.get(value.strip().lower()) if isinstance(value, str) else None
    if label is None and name:
        faults.note(f"rows had a {name!r} that says neither good nor bad, and were taken as unlabelled")
    return label


def _prompt(row: Row, read_context: ReadContext) -> list[Message]:
    """The messages before the answers, as far as they have columns of their own."""
    name = next((name for name in PROMPT_COLUMNS if row.get(name) is not None), "")
    value = parsed(row.get(name), name)
    if isinstance(value, list):
        messages = _turns(value, name, read_context)
    elif value is None:
        messages = []
    else:
        question = Message("user", with_options(text(value, name), row), context_of(row, name))
        messages = [*history_of(row, read_context), question]
    has_system = bool(messages) and messages[0].role == "system"
    return messages if has_system else [*system_of(row), *messages]


def _conversation(value: Any, name: str, prompt: list[Message], read_context: ReadContext) -> list[Message]:
    """The whole conversation that ends with the answer in column `name`."""
    value = parsed(value, name)
    if isinstance(value, list | Mapping):
        messages = _joined(prompt, _turns(value, name, read_context))
    elif prompt:
        messages = [*prompt, Message("assistant", text(value, name))]
    else:
        messages = _transcript(text(value, name), name)
    if messages[-1].role != "assistant" or len(messages) < 2:
        raise RowFault("no_pair", f"{name!r} must end with an answer to something, not {excerpt(value)}.")
    return messages


def _turns(value: Any, name: str, read_context: ReadContext) -> list[Message]:
    """A list of turns, or one by itself."""
    try:
        return turns([value] if isinstance(value, Mapping) else value, name, read_context.faults)
    except RowFault as fault:
        raise fault.within(f", {name!r}") from None


def _joined(prompt: list[Message], messages: list[Message]) -> list[Message]:
    """A list that does not begin with an answer is the whole conversation; its prompt is not repeated."""
    if messages[0].role == "assistant":
        return [*prompt, *messages]
    system = [turn for turn in prompt[:1] if turn.role == "system" and messages[0].role != "system"]
    return [*system, *messages]


def _transcript(value: str, name: str) -> list[Message]:
    """`Human:` and `Assistant:` in turn, the answer last."""
    before, marker, answer = value.rpartition(_LAST_ANSWER)
    prompt = dialogue(before + marker) if marker else []
    if not prompt:
        raise RowFault(
            "no_pair", f"{name!r} answers nothing: there is no column {', '.join(map(repr, PROMPT_COLUMNS))}."
        )
    return [*prompt, Message("assistant", answer.strip())]


PREFERENCES = Reader(
    "preferences",
    "Preference pairs: 'chosen' and 'rejected', with 'prompt', 'conversations' or nothing beside them.",
    preference,
    ((CHOSEN, REJECTED),),
)

OPENAI_PREFERENCES = Reader(
    "openai-preferences",
    "OpenAI's preference pairs: 'input' with 'messages', 'preferred_output' and 'non_preferred_output'.",
    openai_preference,
    (("input", PREFERRED, NOT_PREFERRED),),
)
