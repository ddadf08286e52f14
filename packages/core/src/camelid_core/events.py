"""The event log of an attempt: append-only JSON Lines, and reading them while they grow.

Knows lines in a file. Knows nothing of jobs or of what a task reports. On a full disk events are lost and never the
work that they report.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import JobError
from .file_permissions import open_private

_DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class EventLog:
    """Writes events; each line is one JSON object with `kind` and `time` (Unix seconds).

    `lost` counts events for which the disk had no space; the next one that fits reports how many.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lost = 0
        self._file = open_private(path, "ab", buffering=0)
        self._torn = False

    def emit(self, kind: str, **values: Any) -> None:
        if self.lost and self._write({"kind": "log", "text": f"The disk was full: {self.lost} events were lost."}):
            self.lost = 0
        if self.lost or not self._write({"kind": kind, **values}):
            self.lost += 1

    def close(self) -> None:
        self._file.close()

    def _write(self, event: dict[str, Any]) -> bool:
        line = {"kind": event["kind"], "time": round(time.time(), 3), **event}
        text = json.dumps(_json_safe(line), ensure_ascii=False) + "\n"
        data = (b"\n" if self._torn else b"") + text.encode("utf-8", "backslashreplace")
        try:
            written = self._file.write(data)
        except OSError as error:
            if error.errno not in _DISK_FULL_ERRNOS:
                raise
            return False
        if written:
            self._torn = written < len(data)  # the next event starts a new line, so that only this one is unreadable
        return written == len(data)


def read_events(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Complete events from byte `offset` on, and the offset to ask from next time.

    A last line without newline is still being written and is left for the next call.
    A missing file has no events yet.

    Raises:
        JobError: it is a link, which could point outside the job, or no regular file: a pipe would never end.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return [], offset
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise JobError(f"{str(path)!r} is a link, which a run's events never are. Remove it.") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise JobError(f"{str(path)!r} is no file, but a directory, a pipe or a device. Remove it.")
    with open(descriptor, "rb") as file:  # noqa: PTH123
        file.seek(offset)
        data = file.read()
    end = data.rfind(b"\n") + 1
    return list(_parse(data[:end])), offset + end


def _parse(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.split(b"\n"):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError:
                # a kill in the middle of a write leaves one torn line, glued to the next attempt's first
                continue


def _json_safe(value: Any) -> Any:
    """JSON has no NaN or infinity; such a number, as of a diverged loss, is written as its name."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_safe(item) for item in value]
    return value
