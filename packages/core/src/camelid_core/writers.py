"""`Record`s → data files: Alpaca's three columns where that loses nothing, messages elsewhere.

Knows files. Knows no templates.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .errors import UsageError
from .records import Record


def to_alpaca(record: Record) -> dict[str, Any]:
    """`instruction`, `input`, `output` for a single turn; `messages` for anything longer."""
    roles = [message.role for message in record.messages]
    if roles == ["user", "assistant"] and not record.messages[1].context:
        user, answer = record.messages
        return {"instruction": user.content, "input": user.context, "output": answer.content}
    turns = [
        {"role": message.role, "content": message.content, **({"context": message.context} if message.context else {})}
        for message in record.messages
    ]
    return {"messages": turns}


def write_alpaca(records: Iterable[Record], path: Path) -> int:
    """Stream `records` to `path`: one JSON array for `.json`, one object a line for `.jsonl`; how many were written."""
    if path.suffix not in (".json", ".jsonl"):
        raise UsageError(f"{str(path)!r} must end in .json or .jsonl.")
    lines = path.suffix == ".jsonl"
    count = 0
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write("" if lines else "[")
        for count, text in enumerate(_texts(records), 1):
            file.write(f"{text}\n" if lines else f"{',' if count > 1 else ''}\n  {text}")
        file.write("" if lines else "\n]\n")
    partial.replace(path)
    return count


def _texts(records: Iterable[Record]) -> Iterator[str]:
    return (json.dumps(to_alpaca(record), ensure_ascii=False) for record in records)
