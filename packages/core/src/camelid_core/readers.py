"""Data files → `Record`s, streaming: Alpaca and chat messages, as a JSON array or JSON Lines.

Knows files and their faults, which it names by file, line and excerpt. Knows no template.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from .errors import DataError
from .records import ROLES, Message, Record, alpaca

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
    """Rows as plain objects with their number from 1: JSON Lines or one JSON array, told apart by the first character."""
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
            record_id = str(row.get("id", number))
            return build(row, where, {"id": record_id, "source": str(row.get("source", source))})
    raise DataError(
        f"{where}: no known format; the keys are {sorted(map(str, row))}. "
        "Rows need 'instruction' and 'output' (and may have 'input'), or 'messages'."
    )


def _alpaca(row: Mapping[str, Any], where: str, fields: dict[str, str]) -> Record:
    texts = {key: _text(row.get(key) or "", f"{where}, {key!r}") for key in ("instruction", "input", "output")}
    return alpaca(texts["instruction"], texts["output"], texts["input"], **fields)


def _messages(row: Mapping[str, Any], where: str, fields: dict[str, str]) -> Record:
    turns = row["messages"]
    if not isinstance(turns, list) or not turns:
        raise DataError(f"{where}: 'messages' must be a list with at least one message.")
    return Record(tuple(message(turn, f"{where}, message {n}") for n, turn in enumerate(turns, 1)), **fields)


def message(turn: Any, where: str) -> Message:
    """One `{"role", "content"}` object; `context` is read where we wrote it."""
    if not isinstance(turn, dict) or turn.get("role") not in ROLES:
        raise DataError(f"{where}: expected an object with 'role' one of {', '.join(ROLES)}, not {_excerpt(turn)}.")
    return Message(turn["role"], _text(turn.get("content"), where), _text(turn.get("context") or "", where))


_FORMATS: tuple[tuple[tuple[str, ...], Callable[[Mapping[str, Any], str, dict[str, str]], Record]], ...] = (
    (("messages",), _messages),
    (("instruction", "output"), _alpaca),
)


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
        return _DECODER.decode(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 at byte {error.start}.") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{where}, column {error.colno}: {error.msg}: {_excerpt(error.doc[max(0, error.pos - 20):])}") from None
    except (RecursionError, ValueError) as error:
        raise DataError(f"{where}: {error}") from None


def _array(file: Any, name: str) -> Iterator[tuple[int, Any]]:
    """Elements of one JSON array without holding the file: decode from a buffer, read on when it runs short."""
    import codecs

    decode = codecs.getincrementaldecoder("utf-8")().decode
    buffer, position, ended = "", 0, False
    numbers = count(1)
    opened = False
    while True:
        position = _skip(buffer, position, " \t\r\n," if opened else " \t\r\n[")
        opened = opened or "[" in buffer[:position]
        if position < len(buffer) and buffer[position] == "]":
            return
        try:
            value, end = _DECODER.raw_decode(buffer, position)
            complete = end < len(buffer)  # a number at the very end may go on in the next chunk
        except (ValueError, RecursionError) as error:
            value, end, complete = error, position, False
        if complete:
            yield next(numbers), value
            position = end
            continue
        if ended:
            reason = value if isinstance(value, Exception) else "the array is not closed"
            raise DataError(f"{name}, row {next(numbers)}: {reason}: {_excerpt(buffer[position:])}")
        if len(buffer) - position > _LINE_LIMIT:
            raise DataError(f"{name}, row {next(numbers)}: longer than {_LINE_LIMIT:,} bytes.")
        chunk = file.read(max(_CHUNK, len(buffer) - position))
        ended = not chunk
        try:
            buffer, position = buffer[position:] + decode(chunk, ended), 0
        except UnicodeDecodeError as error:
            raise DataError(f"{name}: not UTF-8 near row {next(numbers)} ({error.reason}).") from None


def _skip(text: str, position: int, what: str) -> int:
    while position < len(text) and text[position] in what:
        position += 1
    return position


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} stands twice")
    return row


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def _excerpt(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return repr(text[:60] + ("…" if len(text) > 60 else ""))
