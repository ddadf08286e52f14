"""A file of questions → rows: a row that cannot be read is an error of that row alone.

Knows the forms of files and the record formats of core. Knows nothing of how they are answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from camelid_core.errors import CamelidError
from camelid_core.readers import form_of, to_record
from camelid_core.readers import rows as read_strictly
from camelid_core.records import Message

PREDICTIONS = "predictions.jsonl"
"""The file of answered rows in an artefact of kind `predictions`."""


@dataclass(frozen=True, slots=True)
class Row:
    """`fields` as they stood in the file; `messages` is what to ask, empty where `error` says why not."""

    number: int
    fields: Mapping[str, Any]
    messages: tuple[Message, ...] = ()
    error: str = ""


def read_rows(path: Path, limit: int | None = None) -> Iterator[Row]:
    """Rows in order, numbered from 1.

    Raises:
        DataError: the file cannot be read, or is broken and no JSON Lines.
    """
    values = _lines(path) if form_of(path).name == "JSON Lines" else read_strictly(path)
    for number, (_, value) in enumerate(islice(values, limit), 1):
        yield _row(number, value)


def _row(number: int, value: Any) -> Row:
    if isinstance(value, _Broken):
        return Row(number, {"line": value.line}, error=value.error)
    where = f"row {number}"
    try:
        record = to_record({"output": "", **value} if "instruction" in value else value, where, number=number)
    except CamelidError as error:
        return Row(number, value, error=str(error))
    return Row(number, value, record.prompt)


@dataclass(frozen=True, slots=True)
class _Broken:
    line: str
    error: str


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            text = line.removeprefix(b"\xef\xbb\xbf" if number == 1 else b"").strip()
            if text:
                yield number, _parse(text, number)


def _parse(line: bytes, number: int) -> Any:
    try:
        value = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return _Broken(line.decode("utf-8", errors="replace"), f"line {number} is no JSON: {error}")
    if not isinstance(value, dict):
        return _Broken(
            line.decode("utf-8"), f"line {number} must be an object with keys, not a {type(value).__name__}."
        )
    return value
