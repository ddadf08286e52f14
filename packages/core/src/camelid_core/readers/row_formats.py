"""Row formats known by their columns (Alpaca, ShareGPT, OpenAI messages, Tulu, prompt and completion) → records.

Knows names of columns. Knows nothing of files.
"""

from __future__ import annotations

from typing import Any

from camelid_core.records import Message, Record

from .column_mapping import Columns
from .dialogue import dialogue
from .preferences import PREFERENCES, label_of
from .reader import METADATA_COLUMNS, ReadContext, Reader, Row, build_record
from .row_faults import RowFault
from .text_values import listed, text
from .turns import pairs, turns

OUTPUT_COLUMNS = ("output", "response")
INPUT_COLUMNS = ("input", "context")
SYSTEM_COLUMNS = ("system", "system_prompt")
PROMPT_ANSWER_COLUMNS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("prompt", "chosen"),
    ("question", "answer"),
    ("question", "response"),
    ("query", "response"),
    ("query", "answer"),
    ("problem", "solution"),
    ("inputs", "targets"),
    ("input", "target"),
    ("input", "output"),
)
"""Columns of prompt and answer, in the names of the formats."""

LEADING_ANSWER = "conversations began with an answer, which was left out"
NO_DIALOGUE = "instructions with 'Human:' and 'Assistant:' in them but no dialogue stayed one turn"


def alpaca(row: Row, number: int, read_context: ReadContext) -> Record:
    instruction = first_text(row, "instruction")
    context = first_text(row, *INPUT_COLUMNS)
    answer = Message("assistant", first_text(row, *OUTPUT_COLUMNS))
    prompt = [Message("user", instruction, context)]
    if "Human:" in instruction and "Assistant:" in instruction:
        prompt = _dialogue(instruction, context, read_context) or prompt
    earlier = pairs(row["history"], "history") if row.get("history") else []
    label = label_of(row) if "kto_tag" in row else None
    return build_record([*_system(row), *earlier, *prompt, answer], row, number, read_context, label=label)


def _dialogue(instruction: str, context: str, read_context: ReadContext) -> list[Message]:
    prompt = dialogue(instruction)
    if not prompt:
        read_context.faults.note(NO_DIALOGUE)
    elif context:
        prompt[-1] = Message("user", prompt[-1].content, context)
    return prompt


def messages(row: Row, number: int, read_context: ReadContext) -> Record:
    conversation = turns(row["messages"], "messages", read_context.faults)
    rejected = row.get("rejected")  # as we write it
    worse = rejected if isinstance(rejected, str) else None
    return build_record(conversation, row, number, read_context, rejected=worse, label=label_of(row))


def sharegpt(row: Row, number: int, read_context: ReadContext) -> Record:
    name = "conversations" if "conversations" in row else "conversation"
    conversation = [*_system(row), *turns(row[name], name, read_context.faults)]
    first = next((index for index, turn in enumerate(conversation) if turn.role == "user"), len(conversation))
    kept = [turn for index, turn in enumerate(conversation) if index >= first or turn.role == "system"]
    if len(kept) < len(conversation):
        if first == len(conversation):
            raise RowFault("no_question", f"{name!r} holds no turn of a person.")
        read_context.faults.note(LEADING_ANSWER)
    return build_record(kept, row, number, read_context, label=label_of(row) if "kto_tag" in row else None)


def prompt_completion(row: Row, number: int, read_context: ReadContext) -> Record:
    prompt_column, answer_column = next(pair for pair in PROMPT_ANSWER_COLUMNS if all(name in row for name in pair))
    prompt = _either(row[prompt_column], prompt_column, "user", read_context)
    answer = _either(row[answer_column], answer_column, "assistant", read_context)
    if len(answer) > len(prompt) and answer[: len(prompt)] == prompt:  # preference data repeat the prompt in the answer
        prompt = []
    label = label_of(row) if prompt_column == "prompt" else None
    return build_record([*_system(row), *prompt, *answer], row, number, read_context, label=label)


def mapped(row: Row, number: int, read_context: ReadContext) -> Record:
    """By the columns that `read_context` names."""
    names = read_context.columns or Columns()
    missing = [name for name in names.used().values() if name not in row]
    if missing:
        raise RowFault("no_column", f"there is no column {missing[0]!r}; the columns are {listed(row)}.")
    given = {name: row[column] for name, column in names.used().items()}
    labels = Columns(
        id=names.id or METADATA_COLUMNS.id,
        source=names.source or METADATA_COLUMNS.source,
        tags=names.tags or METADATA_COLUMNS.tags,
    )
    return build_record(_mapped(given, number, read_context), row, number, read_context, labels)


def _mapped(given: dict[str, Any], number: int, read_context: ReadContext) -> list[Message]:
    if "messages" in given:
        return [*_system(given), *turns(given["messages"], "messages", read_context.faults)]
    return list(alpaca(given | {"id": None, "source": None, "tags": None}, number, read_context).messages)


def first_text(row: Row, *names: str) -> str:
    """The text under the first of `names` that is there; a missing key and null mean no text, 0 and false do not."""
    for name in names:
        value = row.get(name)
        if value is not None:
            return text(value, name)
    return ""


def _system(row: Row) -> list[Message]:
    system = first_text(row, *SYSTEM_COLUMNS)
    return [Message("system", system)] if system else []


def _either(value: Any, name: str, role: Any, read_context: ReadContext) -> list[Message]:
    """A text, or a list of messages."""
    if isinstance(value, list):
        return turns(value, name, read_context.faults)
    return [Message(role, text("" if value is None else value, name))]


FORMATS = (
    PREFERENCES,
    Reader("tulu", "Tulu's JSON Lines: 'dataset', 'id' and 'messages'.", messages, (("dataset", "messages"),)),
    Reader("messages", "OpenAI's 'messages', each with 'role' and 'content'.", messages, (("messages",),)),
    Reader(
        "sharegpt",
        "ShareGPT's 'conversations', each turn with 'from' and 'value'.",
        sharegpt,
        (("conversations",), ("conversation",)),
    ),
    Reader(
        "alpaca",
        "Alpaca's 'instruction', 'input' and 'output' (or 'response'), with 'system', 'history' and 'category'.",
        alpaca,
        tuple(("instruction", name) for name in OUTPUT_COLUMNS),
    ),
    Reader(
        "prompt-completion",
        "A question and its answer: 'prompt' and 'completion' (and 'label'), 'question' and 'answer', and the like.",
        prompt_completion,
        PROMPT_ANSWER_COLUMNS,
    ),
    Reader("mapped", "Any columns, named by a mapping: instruction=question,output=answer.", mapped),
)
