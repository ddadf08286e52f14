"""One record → one row of each format, or the reason why that format cannot hold it.

Knows columns. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from camelid_core.readers.dialogue import dialogue
from camelid_core.readers.row_faults import Faults, RowFault
from camelid_core.readers.text_values import text
from camelid_core.records import Message, Record

OutputRow = dict[str, Any]
TEXT_COLUMN, TEXT_LIST_COLUMN = ("text",), ("texts",)
"""Types of columns: a text, a list of texts. Any other type is a list of objects with these keys."""

INPUT_JOINED = "rows had an input, which was joined to the instruction: this format has no place for it"
TAGS_DROPPED = "rows had tags, which were left behind: this format has no place for them, the writer 'messages' has"

FEEDBACK_DROPPED = (
    "rows had a rejected answer or a label, which was left behind: the writer 'messages' has a place for it"
)


@dataclass(frozen=True, slots=True)
class RowFormat:
    """A row format: its columns in a table, and how a record becomes a row.

    `row` raises RowFault for a record that the format cannot hold.
    """

    name: str
    help: str
    columns: dict[str, tuple[str, ...]]
    row: Callable[[Record, Faults], OutputRow]

    def checked_row(self, record: Record, faults: Faults) -> OutputRow:
        """The row, after a check that every text in it can be read back."""
        if record.is_text and self.row not in (_messages, _text):
            raise RowFault("cannot_hold", "it is a text without turns, which is written when no writer is named.")
        for number, message in enumerate(record.messages, 1):
            try:
                text(message.content)
                text(message.context)
            except RowFault as fault:
                raise fault.within(f", message {number}") from None
        for label in (record.id, record.source, *record.tags):
            text(label, "id, source or tags")
        if record.tags and "tags" not in self.columns:
            faults.note(TAGS_DROPPED)
        if record.feedback and self.row is not _messages:
            faults.note(FEEDBACK_DROPPED)
        return self.row(record, faults)


def to_alpaca(record: Record) -> OutputRow:
    """`instruction`, `input` and `output`; `system` and `history` (pairs) only where there are such turns.

    Raises:
        RowFault: the turns are not a question and its answer, with pairs of them before.
    """
    system, pairs, (question, answer) = _in_pairs(record)
    if any(turn.context for pair in pairs for turn in pair) or answer.context:
        raise RowFault("cannot_hold", "an earlier turn has an input of its own. The writer 'messages' can hold it.")
    if dialogue(question.content):
        raise RowFault("cannot_hold", "its instruction would be read as a dialogue. The writer 'messages' can hold it.")
    row: OutputRow = {"instruction": question.content, "input": question.context, "output": answer.content}
    if system:
        row["system"] = system
    if pairs:
        row["history"] = [[earlier.content, reply.content] for earlier, reply in pairs]
    return row


def _alpaca(record: Record, faults: Faults) -> OutputRow:
    return to_alpaca(record)


def _messages(record: Record, faults: Faults) -> OutputRow:
    """Everything that a record has; a text by itself is the column `text` in place of `messages`."""
    _require_messages(record.messages)
    turns = [_turn(message) for message in record.messages]
    row: OutputRow = {"text": record.messages[0].content} if record.is_text else {"messages": turns}
    row |= record.feedback
    labels = {"id": record.id, "source": record.source, "tags": list(record.tags)}
    return {name: value for name, value in labels.items() if value} | row


def _text(record: Record, faults: Faults) -> OutputRow:
    if not record.is_text:
        raise RowFault("cannot_hold", _NO_TEXT)
    return {"text": record.messages[0].content}


_NO_TEXT = "the rows before it are texts, and it is none. JSON Lines (.jsonl) can hold both."


def _turn(message: Message) -> OutputRow:
    row: OutputRow = {"role": message.role, "content": message.content}
    row |= {"context": message.context} if message.context else {}
    return row if message.trained else row | {"train": False}


def _tulu(record: Record, faults: Faults) -> OutputRow:
    _require_messages(record.messages)
    turns = [{"role": turn.role, "content": content} for turn, content in _joined(record.messages, faults)]
    return {"dataset": record.source, "id": record.id, "messages": turns}


def _sharegpt(record: Record, faults: Faults) -> OutputRow:
    conversation = [turn for turn in record.messages if turn.role != "system"]
    if not conversation or conversation[0].role != "user":
        raise RowFault("cannot_hold", "its first turn is not the user's, and readers leave out what comes before that.")
    turns = [
        {"from": _SHAREGPT_ROLES[turn.role], "value": content} for turn, content in _joined(record.messages, faults)
    ]
    return {"id": record.id, "conversations": turns} if record.id else {"conversations": turns}


_SHAREGPT_ROLES = {"system": "system", "user": "human", "assistant": "gpt"}


def _prompt_completion(record: Record, faults: Faults) -> OutputRow:
    """Two texts for a question and its answer, two lists of messages for anything longer."""
    if not record.messages or record.messages[-1].role != "assistant" or len(record.messages) < 2:
        raise RowFault("cannot_hold", "it does not end with an answer to something. Use the writer 'messages'.")
    joined = _joined(record.messages, faults)
    if len(joined) == 2 and joined[0][0].role == "user":
        return {"prompt": joined[0][1], "completion": joined[1][1]}
    turns = [{"role": turn.role, "content": content} for turn, content in joined]
    return {"prompt": turns[:-1], "completion": turns[-1:]}


def _joined(messages: Sequence[Message], faults: Faults) -> list[tuple[Message, str]]:
    """Each turn with its text, an input joined to it. A text that is too long then cannot be read back."""
    if any(message.context for message in messages):
        faults.note(INPUT_JOINED)
    return [(message, text(message.text)) for message in messages]


def _require_messages(messages: Sequence[Message]) -> None:
    if not messages:
        raise RowFault("cannot_hold", "it has no messages.")


def _in_pairs(record: Record) -> tuple[str, list[tuple[Message, Message]], tuple[Message, Message]]:
    """System text, earlier pairs of question and answer, and the last pair."""
    turns = list(record.messages)
    system = turns.pop(0) if turns and turns[0].role == "system" else None
    pairs = list(zip(turns[::2], turns[1::2], strict=False))
    in_turn = len(turns) % 2 == 0 and all((q.role, a.role) == ("user", "assistant") for q, a in pairs)
    valid_system = system is None or (system.content and not system.context)
    if not pairs or not in_turn or not valid_system:
        raise RowFault("cannot_hold", "it is not a question and its answer in turn. The writer 'messages' can hold it.")
    return system.content if system else "", pairs[:-1], pairs[-1]


ROW_FORMATS = (
    RowFormat(
        "alpaca",
        "Alpaca's 'instruction', 'input' and 'output'; 'system' and 'history' where there are such turns.",
        {"instruction": TEXT_COLUMN, "input": TEXT_COLUMN, "output": TEXT_COLUMN},
        _alpaca,
    ),
    RowFormat(
        "messages",
        "'messages' with 'role' and 'content', and the row's id, source and tags; holds every record.",
        {
            "id": TEXT_COLUMN,
            "source": TEXT_COLUMN,
            "tags": TEXT_LIST_COLUMN,
            "messages": ("role", "content", "context"),
        },
        _messages,
    ),
    RowFormat(
        "sharegpt",
        "ShareGPT's 'conversations' with 'from' and 'value'.",
        {"id": TEXT_COLUMN, "conversations": ("from", "value")},
        _sharegpt,
    ),
    RowFormat(
        "tulu",
        "Tulu's 'dataset', 'id' and 'messages'.",
        {"dataset": TEXT_COLUMN, "id": TEXT_COLUMN, "messages": ("role", "content")},
        _tulu,
    ),
    RowFormat(
        "prompt-completion",
        "'prompt' and 'completion', as texts, or as lists of messages where there are more turns.",
        {"prompt": TEXT_COLUMN, "completion": TEXT_COLUMN},
        _prompt_completion,
    ),
)
TEXTS = RowFormat("text", "A 'text' by itself, for continued pre-training.", {"text": TEXT_COLUMN}, _text)
"""What a text is written as where no writer is named."""
