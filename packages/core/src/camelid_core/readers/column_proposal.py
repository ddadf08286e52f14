"""Proposes a column mapping for columns that no reader knows: by usual column names, else by what the columns hold.

Knows usual names. Decides nothing: a person confirms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .column_mapping import Columns

COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "instruction": (
        "instruction", "question", "prompt", "query", "problem", "task", "request", "user", "human", "source_text",
        "text", "title", "sentence", "问题", "指令",
    ),
    "output": (
        "output", "answer", "response", "completion", "target", "targets", "solution", "reply", "assistant", "gpt",
        "chosen", "best_answer", "answers", "summary", "translation", "label", "result", "回答", "答案",
    ),
    "input": ("input", "context", "passage", "document", "article", "background", "paragraph", "premise", "evidence"),
    "system": ("system", "system_prompt", "system_message"),
    "id": ("id", "_id", "uid", "idx", "uuid"),
    "tags": ("category", "tags", "topic", "kind", "type"),
    "messages": ("messages", "conversations", "conversation", "dialogue", "dialog", "turns", "chat"),
}  # fmt: skip
"""Field of a record → usual names of its column, the likeliest first."""


def propose(columns: Sequence[str], sample: Sequence[Mapping[str, Any]]) -> Columns | None:
    """A mapping by the names of the columns, else by their shape: the last of two or more texts is the answer."""
    filled = {name: [row[name] for row in sample if row.get(name) not in (None, "")] for name in columns}
    texts = [name for name in columns if filled[name] and all(isinstance(value, str) for value in filled[name])]
    lists = [name for name in columns if filled[name] and all(_is_turns(value) for value in filled[name])]
    found = {ours: _column_named(words, lists if ours == "messages" else texts) for ours, words in COLUMN_NAMES.items()}
    if found["messages"] or lists:
        return Columns(messages=found["messages"] or lists[0], system=found["system"])
    labels = (found["id"], found["tags"], found["system"])
    rest = [name for name in texts if name not in labels]
    if len(rest) < 2:
        return None
    instruction = found["instruction"] or next(name for name in rest if name != found["output"])
    output = found["output"] or next(name for name in reversed(rest) if name != instruction)
    if instruction == output:
        return None
    return Columns(
        instruction=instruction,
        input=found["input"] if found["input"] not in (instruction, output) else "",
        output=output,
        system=found["system"],
        id=found["id"],
        tags=found["tags"],
    )


def _column_named(words: Iterable[str], columns: Sequence[str]) -> str:
    """The first of `words` that is the name of a column, whatever its capitals; else one that a name ends or begins in.

    "Model Answer" and "Question Text" are such names; the end of a name says more than its beginning.
    """
    by_name = {name.strip().lower().replace(" ", "_").replace("-", "_"): name for name in columns}
    whole = next((by_name[word] for word in words if word in by_name), "")
    parts = [(name.split("_"), given) for name, given in by_name.items() if "_" in name]
    return whole or next(
        (given for place in (-1, 0) for word in words for part, given in parts if part[place] == word), ""
    )


def _is_turns(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(turn, dict) for turn in value)
