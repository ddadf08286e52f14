"""Random access to the rows of a stream, without reading the beginning again for every page.

Knows iterators. Caches the first rows, up to a limit, and keeps one open stream further on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import islice

from camelid_core.records import Record

KEPT_CHARACTERS = 16_000_000
"""Total size of the cached rows; later rows are read again."""


class RowReader:
    """`open` starts the stream from its beginning; `total` is known once its end was seen."""

    def __init__(self, open: Callable[[], Iterator[Record]]) -> None:
        self._open = open
        self._first_rows: list[Record] = []
        self._free_characters = KEPT_CHARACTERS
        self._stream: Iterator[Record] | None = None
        self._next = 0
        self._lock = threading.Lock()
        self.total: int | None = None

    def page(self, start: int, size: int) -> list[Record]:
        """Rows `start` to `start + size`, fewer at the end."""
        with self._lock:
            if start + size <= len(self._first_rows):
                return self._first_rows[start : start + size]
            return self._read(start, size)

    def _read(self, start: int, size: int) -> list[Record]:
        head = self._first_rows[start:]
        wanted = start + len(head)
        if self._stream is None or self._next > wanted:
            self._stream, self._next = self._open(), 0
        try:
            for record in islice(self._stream, wanted - self._next):
                self._keep(record)
            rest = []
            for record in islice(self._stream, size - len(head)):
                self._keep(record)
                rest.append(record)
        except BaseException:
            self._stream = None
            raise
        if len(rest) < size - len(head):
            self.total, self._stream = self._next, None
        return head + rest

    def _keep(self, record: Record) -> None:
        if self._next == len(self._first_rows) and self._free_characters > 0:
            self._first_rows.append(record)
            self._free_characters -= sum(len(message.content) + len(message.context) for message in record.messages)
        self._next += 1
