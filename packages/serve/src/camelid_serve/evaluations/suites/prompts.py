"""What builders of suites share: reading rows of files with bounds, samples from a seed, taking evenly from groups, and
conversations that end with the beginning of an answer. Knows texts and files."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

from camelid_core.errors import DataError
from camelid_core.records import Message

from camelid_serve.evaluations.evaluation import Conversation

SEED = 42
"""Of samples: the suites' own."""
_MOST_BYTES = 500_000_000
T = TypeVar("T")


def conversation(question: str, begun: str = "") -> Conversation:
    """A question, and the answer that is begun for the model."""
    asked = (Message("user", question),)
    return (*asked, Message("assistant", begun)) if begun else asked


def sampled(rows: Sequence[T], count: int | None) -> list[T]:
    """So many rows drawn from the seed; all of them in their order where there are no more."""
    return list(rows) if not count or len(rows) <= count else random.Random(SEED).sample(list(rows), count)


def evenly(groups: Sequence[Sequence[T]], most: int) -> Iterator[T]:
    """Items of groups in turn, so that few of them are of all groups and not of the first alone."""
    missing = object()
    taken = (each for row in zip_longest(*groups, fillvalue=missing) for each in row if each is not missing)
    return (each for _, each in zip(range(most), taken, strict=False))  # type: ignore[misc]


def text_of(path: Path) -> str:
    """Raises:
    DataError: there is no such file, it is no text, or far larger than any of its kind.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{str(path)!r} has more than {_MOST_BYTES:,} bytes, far more than such a file has.")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise DataError(f"{str(path)!r} is no UTF-8 text.") from None


def json_rows(path: Path) -> list[dict[str, Any]]:
    """Objects of a JSON array or of JSON Lines.

    Raises:
        DataError: it holds anything else.
    """
    text = text_of(path)
    try:
        found = json.loads(text)
        rows = found if isinstance(found, list) else [found]
    except ValueError:
        try:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError as error:
            raise DataError(f"{str(path)!r} is neither JSON nor JSON Lines: {error}.") from None
    if not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{str(path)!r} has rows that are no objects.")
    return rows


def csv_rows(path: Path, columns: int) -> list[list[str]]:
    """Rows of a CSV file without a head.

    Raises:
        DataError: a row has another number of columns.
    """
    rows = [row for row in csv.reader(text_of(path).splitlines(keepends=True)) if row]
    if any(len(row) != columns for row in rows):
        number = next(at for at, row in enumerate(rows, 1) if len(row) != columns)
        raise DataError(f"{str(path)!r} has {len(rows[number - 1])} columns in row {number}; {columns} are expected.")
    return rows


def field(row: dict[str, Any], name: str, path: Path) -> Any:
    """Raises:
    DataError: the row has no such field.
    """
    if name not in row:
        raise DataError(f"{str(path)!r} has a row without {name!r}; its fields are {', '.join(map(repr, row))}.")
    return row[name]
