"""A data file → its rows: its first bytes and its suffix tell the file format.

Knows file formats and how each is opened. Knows nothing of what the rows mean.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from camelid_core.errors import DataError

from .compressed import DAMAGED, GZIP, ZSTD, is_compressed, uncompressed, uncompressed_name
from .delimited import DelimitedRows, delimiter_of
from .json_array import JsonArrayRows, is_object_with_rows
from .json_lines import JsonLinesRows
from .parquet import ParquetRows
from .plain_text import SUFFIX as TEXT_SUFFIX
from .plain_text import PlainTextRows, looks_like_json
from .row_faults import Faults

_BOM = b"\xef\xbb\xbf"
_HEAD_BYTES = 1 << 16


class RowSource(Protocol):
    """Rows of an open file with their numbers, and the place in the file of the one yielded last."""

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]: ...
    def where(self) -> str: ...


@dataclass(frozen=True, slots=True)
class InputFileFormat:
    """A file format, known by its magic bytes `begins` or one of its `suffixes`. `open(file, name, start, faults)`;
    one that `seeks` cannot be read from a compressed stream."""

    name: str
    open: Callable[[BinaryIO, str, bytes, Faults], RowSource]
    suffixes: tuple[str, ...] = ()
    begins: bytes = b""
    seeks: bool = False


INPUT_FILE_FORMATS = (
    InputFileFormat(
        "Parquet", lambda file, name, start, faults: ParquetRows(file, name, faults), (".parquet",), b"PAR1", seeks=True
    ),
    InputFileFormat(
        "CSV", lambda file, name, start, faults: DelimitedRows(file, name, faults, delimiter_of(start, ",")), (".csv",)
    ),
    InputFileFormat(
        "TSV",
        lambda file, name, start, faults: DelimitedRows(file, name, faults, delimiter_of(start, "\t")),
        (".tsv", ".tab"),
    ),
    InputFileFormat(
        "JSON array", lambda file, name, start, faults: JsonArrayRows(file, name, faults), (".json",), b"["
    ),
    InputFileFormat("Plain text", lambda file, name, start, faults: PlainTextRows(file, name, faults), (TEXT_SUFFIX,)),
    InputFileFormat(
        "JSON Lines", lambda file, name, start, faults: JsonLinesRows(file, name, faults), (".jsonl", ".ndjson")
    ),
)
OBJECT_WITH_ROWS = InputFileFormat(
    "JSON object with a list of rows", lambda file, name, start, faults: JsonArrayRows(file, name, faults)
)
SUFFIXES = tuple(suffix for form in INPUT_FILE_FORMATS for suffix in form.suffixes)

_NOT_DATA = (
    ((b"\xff\xfe", b"\xfe\xff"), "is UTF-16; save it as UTF-8."),
    ((GZIP, ZSTD), "is compressed twice; unpack it first."),
    ((b"BZh", b"\xfd7zXZ"), "is compressed by bzip2 or xz; unpack it, or compress it with gzip or Zstandard."),
    ((b"PK\x03\x04",), "is a zip archive or an Excel file; unpack it, or save it as CSV."),
    ((b"SQLite format 3",), "is a database; export the rows as CSV or JSON Lines."),
    ((b"ARROW1",), "is an Arrow file; save it as Parquet."),
)
"""Magic bytes of files that are no data files, and what to do then."""


class FileRows:
    """The rows of one file, in whichever format it has. Iterating opens the file and closes it at the end.

    `header` names the columns of a table that has no header line.
    """

    def __init__(self, path: Path, faults: Faults, header: Sequence[str] = ()) -> None:
        self.path = path
        self._faults = faults
        self._header = header
        self._rows: RowSource | None = None

    def where(self) -> str:
        """The place of the row that was yielded last."""
        return self._rows.where() if self._rows else self.path.name

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        with open_data_file(self.path) as (file, form, start):
            if self._header:
                self._rows = DelimitedRows(file, self.path.name, self._faults, "\t", self._header)
            else:
                self._rows = form.open(file, self.path.name, start, self._faults)
            yield from self._rows


def file_format_of(path: Path) -> InputFileFormat:
    """Raises DataError: the file cannot be read, or is no data file."""
    with open_data_file(path) as (_, form, _):
        return form


def has_data_suffix(path: Path) -> bool:
    """Whether a file's name is that of a data file; it may be compressed."""
    return uncompressed_name(path).suffix.lower() in SUFFIXES


@contextmanager
def open_data_file(path: Path) -> Iterator[tuple[BinaryIO, InputFileFormat, bytes]]:
    """An open data file, positioned after its byte order mark, its format and its first bytes; a compressed one as what
    it holds.

    Raises:
        DataError: it cannot be read, or is no data file.
    """
    try:
        with path.open("rb") as raw:
            if not stat.S_ISREG(os.fstat(raw.fileno()).st_mode) or path.resolve().is_relative_to("/proc"):
                raise DataError(f"{str(path)!r} is no data file.", "not_data")
            magic = raw.read(4)
            raw.seek(0)
            start = uncompressed(raw, magic).read(_HEAD_BYTES)
        form = _identify(path, start, is_compressed(magic))
        with path.open("rb") as raw:  # anew: what is compressed cannot be wound back
            file = uncompressed(raw, magic)
            if start.startswith(_BOM):
                file.read(len(_BOM))
            yield file, form, start.removeprefix(_BOM)
    except (OSError, *DAMAGED) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{str(path)!r} cannot be read: {reason}.", "no_file") from None


def _identify(path: Path, start: bytes, compressed: bool) -> InputFileFormat:
    """Raises DataError: its first bytes are those of no data file."""
    for beginnings, sentence in _NOT_DATA:
        if start.startswith(beginnings):
            raise DataError(f"{path.name} {sentence}", "not_data")
    if b"\0" in start[:2]:
        raise DataError(f"{path.name} holds NUL bytes from the start, as UTF-16 does; save it as UTF-8.", "not_data")
    content = start.removeprefix(_BOM).lstrip(b" \t\r\n")
    form = _file_format(content, uncompressed_name(path).suffix.lower())
    if compressed and form.seeks:
        raise DataError(f"{path.name} is {form.name} that was compressed once more; unpack it first.", "not_data")
    return form


def _file_format(start: bytes, suffix: str) -> InputFileFormat:
    """Parquet has magic bytes; a table is known by its suffix alone, a text unless it begins as JSON rows do; for JSON
    the beginning counts."""
    by_name = next((form for form in INPUT_FILE_FORMATS if suffix in form.suffixes), None)
    if suffix == TEXT_SUFFIX and looks_like_json(start):
        by_name = None
    if by_name is not None and not by_name.begins and by_name.name != "JSON Lines":
        return by_name
    if is_object_with_rows(start):
        return OBJECT_WITH_ROWS
    return next(
        (form for form in INPUT_FILE_FORMATS if form.begins and start.startswith(form.begins)), INPUT_FILE_FORMATS[-1]
    )
