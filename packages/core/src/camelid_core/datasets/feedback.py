"""Appends rows to a feedback file: each durable and whole, with a lock against other writers.

Knows rows and their ids. What a row holds is its writer's choice; reading them is `readers.feedback`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from camelid_core.errors import DataError
from camelid_core.file_permissions import make_private_directory, open_private
from camelid_core.readers.feedback import ID_KEY, RETRACTED_KEY, TIME_KEY

FeedbackRow = Mapping[str, Any]


def retraction(row_id: str) -> dict[str, Any]:
    """The row that withdraws all feedback on `row_id`."""
    return {ID_KEY: row_id, RETRACTED_KEY: True}


def append_feedback(path: Path, rows: Sequence[FeedbackRow]) -> int:
    """Append those of `rows` that differ from the last row of their id; how many there were.

    Raises:
        DataError: the file cannot be written; what it held before is as it was.
    """
    try:
        json.dumps(list(rows), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise DataError("the text holds half a surrogate pair, which no tokenizer takes.", "bad_character") from None
    try:
        if all(row.get(RETRACTED_KEY) for row in rows) and not path.exists():
            return 0
        make_private_directory(path.parent)
        with _locked(path) as file:
            return _append(file, list(_changed_rows(rows, _latest_rows(file))))
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be written: {error.strerror or error}.", "no_file") from None


def _append(file: BinaryIO, rows: Sequence[FeedbackRow]) -> int:
    if rows:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        file.write("".join(f"{json.dumps({TIME_KEY: now, **row}, ensure_ascii=False)}\n" for row in rows).encode())
        file.flush()
        os.fsync(file.fileno())
    return len(rows)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """The file under an exclusive lock among all threads and processes."""
    while True:
        with open_private(path, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield file
                return  # else it was removed while waiting for the lock


def _latest_rows(file: BinaryIO) -> dict[str, FeedbackRow]:
    """The last row of each id. A line torn by a power cut is removed: it was never acknowledged."""
    known: dict[str, FeedbackRow] = {}
    end = 0
    file.seek(0)
    for line in file:
        if not line.endswith(b"\n"):
            file.truncate(end)
            break
        end += len(line)
        with contextlib.suppress(ValueError, TypeError, KeyError):  # a line in another format, which is left alone
            row = json.loads(line)
            known[str(row[ID_KEY])] = {name: value for name, value in row.items() if name != TIME_KEY}
    file.seek(0, os.SEEK_END)
    return known


def _changed_rows(rows: Sequence[FeedbackRow], known: dict[str, FeedbackRow]) -> Iterator[FeedbackRow]:
    """Rows that differ from the last one of their id."""
    for row in rows:
        row_id = str(row[ID_KEY])
        before, now = known.get(row_id), json.loads(json.dumps(row))
        if row.get(RETRACTED_KEY) and (before is None or before.get(RETRACTED_KEY)):
            continue
        if before != now:
            known[row_id] = now
            yield row
