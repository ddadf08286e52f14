"""Rows of one JSON array, also of one inside an object, parsed in chunks so that the file is never held in memory.

Knows JSON that arrives in chunks. Knows nothing of what the rows mean.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from camelid_core.errors import DataError
from camelid_core.strict_json import decoder

from .json_lines import LINE_LIMIT
from .row_faults import Faults
from .text_values import excerpt, listed

CHUNK = 1 << 20
LIST_KEYS = ("data", "rows", "examples", "instances", "items", "records", "samples", "train")
"""Keys under which an object holds the rows."""
_TEXT = rb'"(?:[^"\\]|\\.)*"'
_OBJECT_WITH_ROWS = re.compile(
    rb"\{\s*(?:%b\s*:\s*(?:%b|[-+\w.]+)\s*,\s*)*\"(?:%b)\"\s*:\s*\[\s*\{" % (_TEXT, _TEXT, "|".join(LIST_KEYS).encode())
)


def is_object_with_rows(start: bytes) -> bool:
    """Whether a file that begins so is one object with a list of rows: `{"version": 1, "data": [{…`. A first line that
    is an object by itself, with more behind it, is a line of JSON Lines."""
    if not _OBJECT_WITH_ROWS.match(start):
        return False
    line, _, rest = start.partition(b"\n")
    return not (rest.strip() and _is_json(line))


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


class JsonArrayRows:
    """`(number, row)` for each object of the array, numbered from 1. Where the file is an object, its first list under
    one of `LIST_KEYS` is the array, and what else it holds is noted."""

    def __init__(self, file: BinaryIO, name: str, faults: Faults) -> None:
        self._text = _JsonStream(file, name)
        self._faults = faults

    def where(self) -> str:
        """The place of the row that was yielded last."""
        return self._text.where()

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        text = self._text
        yield from self._rows_in_object() if text.peek() == "{" else self._rows()
        if text.peek():
            raise text.fault("the array has ended, but the file goes on")

    def _rows_in_object(self) -> Iterator[tuple[int, dict[str, Any]]]:
        text = self._text
        found, others, more = "", [], True
        text.expect("{")
        while more:
            key = text.value()
            text.expect(":")
            if not found and key in LIST_KEYS and text.peek() == "[":
                found = key
                yield from self._rows()
            else:
                text.value()
                others.append(str(key))
            more = text.peek() == ","
            if more:
                text.expect(",")
        text.expect("}")
        if others:
            names = f"keys of the file beside {found!r} were not read: {listed(others)}"
            self._faults.note(names, len(others))

    def _rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        text = self._text
        text.expect("[")
        more_values = text.peek() != "]"
        while more_values:
            value = text.value()
            if isinstance(value, dict) and not text.strict_faults:
                yield text.row, value
            else:
                self._add_fault(value)
            more_values = text.peek() == ","
            if more_values:
                text.expect(",")
                text.row += 1
        text.expect("]")

    def _add_fault(self, value: Any) -> None:
        if self._text.strict_faults:
            self._faults.add(DataError(f"{self.where()}: {self._text.strict_faults[0]}", "not_json"))
        else:
            self._faults.add(DataError(f"{self.where()}: expected an object, not {excerpt(value)}.", "no_object"))


class _JsonStream:
    """A sliding window over a file's text: decoded as far as needed, dropped once parsed.

    `strict_faults` are faults of the last value that a plain JSON parser accepts, such as a key given twice.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.row = 1
        self.strict_faults: list[str] = []
        self._file = file
        self._name = name
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._parse = decoder(self.strict_faults.append).raw_decode
        self._text = ""
        self._at = 0
        self._start = 0
        self._bytes = 0
        self._line = 1
        self._column = 1
        self._ended = False

    def peek(self) -> str:
        """The next character that is no white space; empty at the end of the file."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._read_chunk()

    def expect(self, what: str) -> None:
        if self.peek() != what:
            raise self.fault(f"expected {what!r}" if self._at < len(self._text) else "the array is not closed")
        self._at += 1

    def value(self) -> Any:
        self.peek()
        while True:
            self.strict_faults.clear()
            try:
                value, end = self._parse(self._text, self._at)
                if end < len(self._text) or self._ended:  # a number at the very end may go on in the next chunk
                    self._start, self._at = self._at, end
                    return value
            except RecursionError:
                raise self.fault("nested too deeply") from None
            except ValueError as error:
                if self._ended or not _may_be_incomplete(error, len(self._text)):
                    raise self.fault(getattr(error, "msg", str(error)), getattr(error, "pos", self._at)) from None
            if len(self._text) - self._at > LINE_LIMIT:
                raise self.fault(f"longer than {LINE_LIMIT:,} characters", kind="too_long")
            self._read_chunk()

    def where(self) -> str:
        """Row and line of the value that was read last."""
        return f"{self._name}, row {self.row} (line {self._place(self._start)[0]})"

    def fault(self, reason: str, at: int | None = None, kind: str = "not_json") -> DataError:
        at = self._at if at is None else at
        line, column = self._place(at)
        shown = excerpt(self._text, max(self._at, at - 20))
        return DataError(f"{self._name}, row {self.row} (line {line}, column {column}): {reason}: {shown}", kind)

    def _place(self, at: int) -> tuple[int, int]:
        """Line and column in the file of a place in the text held."""
        last = self._text.rfind("\n", 0, at)
        column = at - last if last >= 0 else self._column + at
        return self._line + self._text.count("\n", 0, at), column

    def _read_chunk(self) -> None:
        chunk = self._file.read(max(CHUNK, len(self._text) - self._at))
        self._ended = not chunk
        try:
            more = self._decode(chunk, self._ended)
        except UnicodeDecodeError as error:
            place = f"not UTF-8 near row {self.row}, at byte {self._file.tell() - len(chunk) + error.start}"
            raise DataError(f"{self._name}: {place} ({error.reason}).", "not_utf8") from None
        self._line, self._column = self._place(self._at)
        self._text, self._at, self._start = self._text[self._at :] + more, 0, 0


_SPACE = re.compile(r"[ \t\r\n]*")
_LONGEST_PARTIAL = len("-Infinity")


def _may_be_incomplete(error: Exception, length: int) -> bool:
    """Whether a failed parse may only want more text: a string not closed yet, or a fault at the very end."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= length - _LONGEST_PARTIAL
