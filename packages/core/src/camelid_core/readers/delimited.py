"""Rows of a CSV or TSV file: the first line names the columns, every cell is text.

Knows cells, quotes and lines. Knows nothing of what the columns mean.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from camelid_core.errors import DataError

from .json_lines import LINE_LIMIT
from .row_faults import Faults
from .text_values import MAX_FIELD, excerpt, listed

DELIMITERS = ",;\t|"
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*$', re.IGNORECASE)


class DelimitedCells:
    """The cells of each row, with the number of the line the row begins on. Blank lines are skipped."""

    def __init__(self, file: BinaryIO, name: str, faults: Faults, delimiter: str = ",") -> None:
        csv.field_size_limit(MAX_FIELD)  # one for the whole process; nobody else here reads CSV
        self._lines = _TextLines(file, name)
        self._name = name
        self._faults = faults
        self._reader = csv.reader(self._lines, delimiter=delimiter)
        self.begins = 1

    def where(self) -> str:
        return f"{self._name}, line {self.begins}"

    def __iter__(self) -> Iterator[list[str]]:
        while True:
            self.begins = self._lines.count + 1
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                self._faults.add(DataError(f"{self.where()}: {self._reason(error)}", "bad_table"))
                continue
            except DataError as error:  # a line that is no text; the reader begins anew behind it
                self._faults.add(error)
                continue
            if self._lines.ended and cells:  # a row that ends before its line does
                reason = "a quote is opened and the file ends before it is closed."
                self._faults.add(DataError(f"{self.where()}: {reason}", "bad_table"))
            elif cells:
                yield cells

    def _reason(self, error: csv.Error) -> str:
        if "field limit" not in str(error):
            return f"{error}."
        return (
            f"a cell goes on for over {MAX_FIELD:,} characters, to line {self._lines.count}; "
            "a quote that is not closed does that."
        )


class DelimitedRows:
    """`(number, row)` with the header's names as keys; rows are numbered from 1 after the header."""

    def __init__(self, file: BinaryIO, name: str, faults: Faults, delimiter: str, header: Sequence[str] = ()) -> None:
        """With `header`, the file has none of its own."""
        self._cells = DelimitedCells(file, name, faults, delimiter)
        self._name = name
        self._faults = faults
        self._header = tuple(header)
        self._number = 0

    def where(self) -> str:
        """The place of the row that was yielded last."""
        return f"{self._name}, row {self._number} (line {self._cells.begins})"

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        header = self._header
        for cells in self._cells:
            if self._cells.begins == 1 and _names_separator(cells):
                continue
            if not header:
                header = column_names(cells, self._cells.where())
                continue
            self._number += 1
            if len(cells) == len(header):
                yield self._number, dict(zip(header, cells, strict=True))
            else:
                self._faults.add(DataError(f"{self.where()}: {_ragged(cells, header)}", "ragged_row"))


def column_names(cells: Sequence[str], where: str) -> tuple[str, ...]:
    """The header; a column without a name is called by its number.

    Raises:
        DataError: a name stands twice.
    """
    names = tuple(cell.strip() or f"column {number}" for number, cell in enumerate(cells, 1))
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{where}: two columns are called {twice[0]!r}; rename one.", "key_twice")
    return names


def delimiter_of(start: bytes, default: str) -> str:
    """The delimiter: the one that a first line `sep=;` names, as Excel writes it, else comma, semicolon, tab or bar,
    whichever the first line has most of outside quotes."""
    line = start.decode("utf-8", errors="replace").split("\n", 1)[0]
    if (named := _SEPARATOR_LINE.match(line)) is not None:
        return named[1]
    outside = "".join(line.split('"')[::2])
    counts = {delimiter: outside.count(delimiter) for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=lambda delimiter: (counts[delimiter], delimiter == default))
    return best if counts[best] else default


def _names_separator(cells: Sequence[str]) -> bool:
    """Whether these are the cells of a line `sep=;`, which the delimiter itself cuts in two."""
    return cells[0].lower().startswith("sep=") and len("".join(cells)) <= len("sep=;")


def _ragged(cells: Sequence[str], header: Sequence[str]) -> str:
    word = "cell" if len(cells) == 1 else "cells"
    shown = excerpt(" | ".join(cells))
    return f"{len(cells)} {word} where the header has {len(header)} ({listed(header, quoted=False)}): {shown}."


class _TextLines:
    """Decodes lines of text; `ended` once a read went past the end of the file."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._rest: Iterator[str] = iter(())
        self.count = 0
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._rest, "") or self._read()
        self.count += 1
        return line

    def _read(self) -> str:
        raw = self._file.readline(LINE_LIMIT)
        if not raw:
            self.ended = True
            raise StopIteration
        try:
            if len(raw) >= LINE_LIMIT:
                raise self._too_long(raw)
            line = raw.decode()
        except UnicodeDecodeError as error:
            at = self._file.tell() - len(raw) + error.start
            place = f"{self._name}, line {self.count + 1}"
            self.count += 1
            raise DataError(
                f"{place}: not UTF-8 at byte {error.start} ({at:,} of the file); save it as UTF-8.", "not_utf8"
            ) from None
        if "\r" in line and "\r" in line[:-2]:  # a lone carriage return ends a line too
            self._rest = iter(io.StringIO(line, newline=""))
            return next(self._rest)
        return line

    def _too_long(self, raw: bytes) -> DataError:
        while raw and not raw.endswith(b"\n"):
            raw = self._file.readline(LINE_LIMIT)
        self.count += 1
        return DataError(f"{self._name}, line {self.count}: longer than {LINE_LIMIT:,} bytes.", "too_long")
