"""A plain text file as rows: one text, or several where it is longer than a text may be.

Knows characters and places to cut. Knows nothing of tokens or of what is done with the text.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from camelid_core.errors import DataError

from .row_faults import Faults
from .text_values import MAX_FIELD

SUFFIX = ".txt"
_JSON = re.compile(rb'\s*(?:\{\s*"|\[\s*\{)')
_BYTES = 1 << 20
_IN_PARTS = f"files had more than {MAX_FIELD:,} characters and became several rows"


def looks_like_json(start: bytes) -> bool:
    """Whether a file with this suffix holds JSON rows all the same."""
    return _JSON.match(start) is not None


class PlainTextRows:
    """`(number, {"text": …})`: the whole file, its line breaks as "\\n". A longer file is cut after an empty line where
    it has one, else after a line or a word."""

    def __init__(self, file: BinaryIO, name: str, faults: Faults) -> None:
        self._file = file
        self._name = name
        self._faults = faults
        self._number = 0

    def where(self) -> str:
        """The place of the row that was yielded last."""
        return f"{self._name}, part {self._number}" if self._number > 1 else self._name

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        rest = ""
        for piece in self._decoded():
            rest += piece
            while len(rest) > MAX_FIELD:
                if not self._number:
                    self._faults.note(_IN_PARTS)
                end = _place_to_cut(rest)
                yield self._row(rest[:end])
                rest = rest[end:]
        if rest.strip():
            yield self._row(rest)

    def _row(self, text: str) -> tuple[int, dict[str, Any]]:
        self._number += 1
        return self._number, {"text": text}

    def _decoded(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")()
        carriage_return = ""  # which may be the first half of a line break
        while True:
            start, data = self._file.tell(), self._file.read(_BYTES)
            undecoded = len(decoder.getstate()[0])
            try:
                text = carriage_return + decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                at = start - undecoded + error.start
                raise DataError(f"{self._name}: not UTF-8 at byte {at:,}; save it as UTF-8.", "not_utf8") from None
            carriage_return = "\r" if data and text.endswith("\r") else ""
            yield text.removesuffix(carriage_return).replace("\r\n", "\n")
            if not data:
                return


def _place_to_cut(text: str) -> int:
    for mark in ("\n\n", "\n", " "):
        end = text.rfind(mark, MAX_FIELD // 2, MAX_FIELD)
        if end >= 0:
            return end + len(mark)
    return MAX_FIELD
