"""Row formats known by their columns (Alpaca, ShareGPT, messages, Tulu, prompt and completion, text) → records.

Knows names of columns. Knows nothing of files.
"""

from __future__ import annotations

from typing import Any

from camelid_core.records import Message, Record

from .column_mapping import Columns
from .column_proposal import COLUMN_NAMES
from .companions import context_of, earlier_turns, first_text, history_of, system_of, with_options, with_rationale
from .dialogue import dialogue
from .preferences import OPENAI_PREFERENCES, PREFERENCES, label_of
from .reader import METADATA_COLUMNS, ReadContext, Reader, Row, build_record
from .row_faults import RowFault
from .text_values import MAX_FIELD, is_absent, listed, text
from .turns import turns

OUTPUT_COLUMNS = ("output", "response")
PROMPT_ANSWER_COLUMNS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("prompt", "output"),
    ("prompt", "chosen"),
    ("question", "response"),
    ("question", "answer"),
    ("query", "response"),
    ("query", "answer"),
    ("problem", "solution"),
    ("inputs", "targets"),
    ("input", "target"),
    ("input", "output"),
)
"""Columns of prompt and answer, in the names of the formats: of a whole answer before those of a short one."""

LEADING_ANSWER = "conversations began with an answer, which was left out"
NO_DIALOGUE = "instructions with 'Human:' and 'Assistant:' in them but no dialogue stayed one turn"


def alpaca(row: Row, number: int, read_context: ReadContext) -> Record:
    instruction = with_options(first_text(row, "instruction"), row)
    context = context_of(row, "instruction")
    answer = Message("assistant", with_rationale(_answer_text(row, *OUTPUT_COLUMNS), row))
    prompt = [Message("user", instruction, context)]
    if "Human:" in instruction and "Assistant:" in instruction:
        prompt = _dialogue(instruction, context, read_context) or prompt
    label = label_of(row, read_context.faults) if "kto_tag" in row else None
    earlier = earlier_turns(row, read_context)
    return build_record([*earlier, *prompt, answer], row, number, read_context, label=label)


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
    label = label_of(row, read_context.faults)
    return build_record(conversation, row, number, read_context, rejected=worse, label=label)


def sharegpt(row: Row, number: int, read_context: ReadContext) -> Record:
    name = "conversations" if "conversations" in row else "conversation"
    conversation = [*system_of(row), *turns(row[name], name, read_context.faults)]
    first = next((index for index, turn in enumerate(conversation) if turn.role == "user"), len(conversation))
    kept = [turn for index, turn in enumerate(conversation) if index >= first or turn.role == "system"]
    if len(kept) < len(conversation):
        if first == len(conversation):
            raise RowFault("no_question", f"{name!r} holds no turn of a person.")
        read_context.faults.note(LEADING_ANSWER)
    label = label_of(row, read_context.faults) if "kto_tag" in row else None
    return build_record(kept, row, number, read_context, label=label)


def prompt_completion(row: Row, number: int, read_context: ReadContext) -> Record:
    prompt_column, answer_column = _prompt_answer_columns(row)
    prompt, answer = row[prompt_column], row[answer_column]
    if isinstance(prompt, list):
        prompt = turns(prompt, prompt_column, read_context.faults)
    else:
        question = with_options(text("" if prompt is None else prompt, prompt_column), row)
        prompt = [*history_of(row, read_context), Message("user", question, context_of(row, prompt_column))]
    if isinstance(answer, list):
        answer = turns(answer, answer_column, read_context.faults)
    else:
        answer = [Message("assistant", with_rationale(_answer_text(row, answer_column), row))]
    if len(answer) > len(prompt) and answer[: len(prompt)] == prompt:  # preference data repeat the prompt in the answer
        prompt = []
    label = label_of(row, read_context.faults) if prompt_column == "prompt" else None
    return build_record([*system_of(row), *prompt, *answer], row, number, read_context, label=label)


def _prompt_answer_columns(row: Row) -> tuple[str, str]:
    """The first pair of columns that the row has; one whose answer is there is better than one whose is null."""
    here = [pair for pair in PROMPT_ANSWER_COLUMNS if all(name in row for name in pair)]
    return next((pair for pair in here if not is_absent(row[pair[1]])), here[0])


def _answer_text(row: Row, *names: str) -> str:
    """The answer under one of `names`; empty where a mapping has no column for it, as for rows to predict.

    Raises:
        RowFault: all of them are null: there is no answer, which an empty text is.
    """
    here = [name for name in names if name in row]
    if here and all(is_absent(row[name]) for name in here):
        raise RowFault("no_answer", _NO_ANSWER, f", {here[0]!r}")
    return first_text(row, *here)


_NO_ANSWER = (
    "there is no answer (null), and a model would learn to say nothing. Fill it in, or leave such rows out: "
    "`camelid datasets add FILE --lenient`."
)


def text_by_itself(row: Row, number: int, read_context: ReadContext) -> Record:
    return build_record([_text_message(row["text"])], row, number, read_context)


def _text_message(value: Any) -> Message:
    if isinstance(value, str) and len(value) > MAX_FIELD:
        raise RowFault("too_long", _LONG_TEXT.format(len(value)), ", 'text'")
    return Message("text", text(value, "text"))


_LONG_TEXT = (
    f"{{:,}} characters; a row takes at most {MAX_FIELD:,}. Cut it into several rows, or save it as a .txt file, which "
    "is read in parts."
)


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
    if "text" in given:
        return [_text_message(given["text"])]
    if "messages" in given:
        return [*system_of(given), *turns(given["messages"], "messages", read_context.faults)]
    return list(alpaca(given | {"id": None, "source": None, "tags": None}, number, read_context).messages)


FORMATS = (
    PREFERENCES,
    OPENAI_PREFERENCES,
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
    Reader(
        "text",
        "A 'text' by itself, every token of which is trained, without a template: continued pre-training.",
        text_by_itself,
        (("text",),),
        unless=COLUMN_NAMES["output"],
    ),
    Reader("mapped", "Any columns, named by a mapping: instruction=question,output=answer.", mapped),
)
