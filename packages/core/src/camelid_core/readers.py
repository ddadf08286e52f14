"""Data files → `Record`s, streaming: Alpaca and chat messages, as a JSON array or JSON Lines.

Knows files and their faults, which it names by file, line and excerpt. Knows no template.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import DataError
from .records import ROLES, Message, Record
from .strictjson import DECODER

MAX_FIELD = 1_000_000
"""Characters one text may have; a longer one is a damaged file far more often than data."""

_CHUNK = 1 << 20


def read(path: Path) -> Iterator[Record]:
    """Every record of a `.json` or `.jsonl` file, whichever of the known formats its rows have.

    Raises:
        DataError: naming file, row and excerpt; also for a file without rows.
    """
    empty = True
    for number, row in rows(path):
        empty = False
        yield to_record(row, where=f"{path.name}, row {number}", source=path.stem, number=number)
    if empty:
        raise DataError(f"{path.name} holds no rows.")


def rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows as plain objects with their number from 1: JSON Lines or one JSON array, as the first character says."""
    try:
        with path.open("rb") as file:
            start = file.read(4096)
            if start.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise DataError(f"{path.name} is UTF-16; save it as UTF-8.")
            file.seek(3 if start.startswith(b"\xef\xbb\xbf") else 0)
            is_array = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
            values = _array(file, path.name) if is_array else _lines(file, path.name)
            for number, value in values:
                if not isinstance(value, dict):
                    raise DataError(f"{path.name}, row {number}: expected an object, not {_excerpt(value)}.")
                yield number, value
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read: {error.strerror}.") from None


def to_record(row: Mapping[str, Any], where: str, source: str = "", number: int = 0) -> Record:
    """One row of any known format. `where` opens every message about it."""
    for keys, build in _FORMATS:
        if all(key in row for key in keys):
            return Record(build(row, where), str(row.get("id", number)), str(row.get("source", source)))
    raise DataError(
        f"{where}: no known format; the keys are {sorted(map(str, row))}. "
        "Rows need 'instruction' and 'output' (and may have 'input'), or 'messages'."
    )


def _alpaca(row: Mapping[str, Any], where: str) -> tuple[Message, ...]:
    texts = {key: _text(_or_empty(row, key), f"{where}, {key!r}") for key in ("instruction", "input", "output")}
    return Message("user", texts["instruction"], texts["input"]), Message("assistant", texts["output"])


def _messages(row: Mapping[str, Any], where: str) -> tuple[Message, ...]:
    turns = row["messages"]
    if not isinstance(turns, list) or not turns:
        raise DataError(f"{where}: 'messages' must be a list with at least one message.")
    return tuple(message(turn, f"{where}, message {n}") for n, turn in enumerate(turns, 1))


def message(turn: Any, where: str) -> Message:
    """One `{"role", "content"}` object; `context` is read where we wrote it."""
    if not isinstance(turn, dict) or turn.get("role") not in ROLES:
        raise DataError(f"{where}: expected an object with 'role' one of {', '.join(ROLES)}, not {_excerpt(turn)}.")
    return Message(turn["role"], _text(turn.get("content"), where), _text(_or_empty(turn, "context"), where))


_FORMATS: tuple[tuple[tuple[str, ...], Callable[[Mapping[str, Any], str], tuple[Message, ...]]], ...] = (
    (("messages",), _messages),
    (("instruction", "output"), _alpaca),
)


def _or_empty(row: Mapping[str, Any], key: str) -> Any:
    """A missing key and null mean no text; 0 and false do not."""
    return "" if row.get(key) is None else row[key]


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where}: expected text, not {_excerpt(value)}.")
    if len(value) > MAX_FIELD:
        raise DataError(f"{where}: {len(value):,} characters; at most {MAX_FIELD:,} are taken.")
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value if char > "\ud7ff"):
        raise DataError(f"{where}: the text holds a NUL or half a surrogate pair, which no tokenizer takes.")
    return value


def _lines(file: Any, name: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(iter(lambda: file.readline(_LINE_LIMIT), b""), 1):
        if len(line) >= _LINE_LIMIT:
            raise DataError(f"{name}, line {number}: longer than {_LINE_LIMIT:,} bytes.")
        if line.strip():
            yield number, _parse(line.strip(), f"{name}, line {number}")


_LINE_LIMIT = 16 * MAX_FIELD


def _parse(data: bytes, where: str) -> Any:
    try:
        return DECODER.decode(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 at byte {error.start}.") from None
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}, column {error.colno}: {error.msg}: {_excerpt(error.doc[max(0, error.pos - 20) :])}"
        ) from None
    except (RecursionError, ValueError) as error:
        raise DataError(f"{where}: {error}") from None


def _array(file: Any, name: str) -> Iterator[tuple[int, Any]]:
    """Elements of one JSON array without holding the file."""
    source = _Buffer(file, name)
    source.take("[")
    if source.peek() != "]":
        yield source.row, source.value()
        while source.peek() == ",":
            source.take(",")
            source.row += 1
            yield source.row, source.value()
    source.take("]")
    if source.peek():
        raise source.fault("the array has ended, but the file goes on")


class _Buffer:
    """The text of a file around the place being read: decoded as far as needed, forgotten behind."""

    def __init__(self, file: Any, name: str) -> None:
        self.row = 1
        self._file = file
        self._name = name
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._text = ""
        self._at = 0
        self._ended = False

    def peek(self) -> str:
        """The next character that is no white space; empty at the end of the file."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._read_on()

    def take(self, what: str) -> None:
        if self.peek() != what:
            raise self.fault(f"expected {what!r}" if self._at < len(self._text) else "the array is not closed")
        self._at += 1

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
                if end < len(self._text) or self._ended:  # a number at the very end may go on in the next chunk
                    self._at = end
                    return value
            except (ValueError, RecursionError) as error:
                if self._ended or not _may_go_on(error, len(self._text)):
                    raise self.fault(getattr(error, "msg", str(error)), getattr(error, "pos", self._at)) from None
            if len(self._text) - self._at > _LINE_LIMIT:
                raise self.fault(f"longer than {_LINE_LIMIT:,} characters")
            self._read_on()

    def fault(self, reason: str, at: int | None = None) -> DataError:
        place = max(self._at, (self._at if at is None else at) - 20)
        return DataError(f"{self._name}, row {self.row}: {reason}: {_excerpt(self._text[place : place + 80])}")

    def _read_on(self) -> None:
        chunk = self._file.read(max(_CHUNK, len(self._text) - self._at))
        self._ended = not chunk
        try:
            self._text, self._at = self._text[self._at :] + self._decode(chunk, self._ended), 0
        except UnicodeDecodeError as error:
            raise DataError(f"{self._name}: not UTF-8 near row {self.row} ({error.reason}).") from None


_SPACE = re.compile(r"[ \t\r\n]*")
_LONGEST_PARTIAL = len("-Infinity")


def _may_go_on(error: Exception, length: int) -> bool:
    """Whether a failed parse may only want more text: a string not closed yet, or a fault at the very end."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= length - _LONGEST_PARTIAL


def _excerpt(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return repr(text[:60] + ("…" if len(text) > 60 else ""))
