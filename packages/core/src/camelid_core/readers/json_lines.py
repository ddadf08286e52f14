"""Rows of a JSON Lines file, one line at a time.

Knows lines and JSON. Knows nothing of what the rows mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from camelid_core.errors import DataError
from camelid_core.strict_json import DECODER

from .row_faults import Faults
from .text_values import MAX_FIELD, excerpt

LINE_LIMIT = 16 * MAX_FIELD
_BOM = b"\xef\xbb\xbf"


class JsonLinesRows:
    """`(number, row)`, where the number is the line's. Only "\\n" ends a line."""

    def __init__(self, file: BinaryIO, name: str, faults: Faults) -> None:
        self._file = file
        self._name = name
        self._faults = faults
        self._number = 0

    def where(self) -> str:
        """The place of the row that was yielded last."""
        return f"{self._name}, line {self._number}"

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        read = self._file.readline
        while line := read(LINE_LIMIT):
            self._number += 1
            if len(line) >= LINE_LIMIT:
                self._faults.add(DataError(f"{self.where()}: longer than {LINE_LIMIT:,} bytes.", "too_long"))
                self._skip_line(line)
            elif not line.isspace():
                try:
                    value = self._parse(line)
                except DataError as error:
                    self._faults.add(error)
                    continue
                yield self._number, value

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            value = DECODER.decode(line.removeprefix(_BOM).rstrip().decode())
        except UnicodeDecodeError as error:
            at = self._file.tell() - len(line) + error.start
            message = f"{self.where()}: not UTF-8 at byte {error.start} ({at:,} of the file); save it as UTF-8."
            raise DataError(message, "not_utf8") from None
        except json.JSONDecodeError as error:
            shown = excerpt(error.doc, max(0, error.pos - 20))
            message = f"{self.where()}, column {error.colno}: {error.msg}: {shown}{self._hint(line)}"
            raise DataError(message, "not_json") from None
        except RecursionError:
            raise DataError(f"{self.where()}: nested too deeply.", "not_json") from None
        except ValueError as error:
            raise DataError(f"{self.where()}: {error}", "not_json") from None
        if not isinstance(value, dict):
            raise DataError(f"{self.where()}: expected an object, not {excerpt(value)}.", "no_object")
        return value

    def _hint(self, line: bytes) -> str:
        if self._number > 1 or line.rstrip()[-1:] not in (b"{", b"[", b","):
            return ""
        return ". If the file is one object over several lines, call its list of rows 'data', or keep only that list."

    def _skip_line(self, line: bytes) -> None:
        while line and not line.endswith(b"\n"):
            line = self._file.readline(LINE_LIMIT)
