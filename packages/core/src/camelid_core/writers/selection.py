"""Which writer writes a file: the name decides the row format, the suffix the file format.

Knows names and suffixes. Knows nothing of how either format is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from camelid_core.errors import UnknownName, UsageError

from .file_formats import OUTPUT_FILE_FORMATS, OutputFileFormat
from .row_formats import ROW_FORMATS, RowFormat


@dataclass(frozen=True, slots=True)
class Writer:
    """A writer by its name. With `file_format`, the file has that format whatever its suffix."""

    name: str
    help: str
    row_format: RowFormat
    file_format: OutputFileFormat | None = None


_ROW_FORMATS = {row_format.name: row_format for row_format in ROW_FORMATS}
WRITERS: Mapping[str, Writer] = MappingProxyType(
    {row_format.name: Writer(row_format.name, row_format.help, row_format) for row_format in ROW_FORMATS}
    | {
        file_format.name: Writer(
            file_format.name,
            f"A {file_format.name.upper()} file: {_ROW_FORMATS[file_format.row_format].help}",
            _ROW_FORMATS[file_format.row_format],
            file_format,
        )
        for file_format in OUTPUT_FILE_FORMATS
        if file_format.name in ("csv", "tsv", "parquet")
    }
)


def choose_writer(path: Path, name: str = "") -> tuple[RowFormat, OutputFileFormat]:
    """The row format and the file format.

    Raises:
        UnknownName: no writer is called `name`.
        UsageError: the suffix is of no file format that is written.
    """
    if name and name not in WRITERS:
        raise UnknownName("writer", name, WRITERS)
    writer = WRITERS[name] if name else None
    by_suffix = next(
        (file_format for file_format in OUTPUT_FILE_FORMATS if path.suffix.lower() in file_format.suffixes), None
    )
    file_format = (writer.file_format if writer else None) or by_suffix
    if file_format is None:
        suffixes = [suffix for file_format in OUTPUT_FILE_FORMATS for suffix in file_format.suffixes]
        raise UsageError(f"{str(path)!r} must end in {', '.join(suffixes[:-1])} or {suffixes[-1]}.")
    return (writer.row_format if writer else _ROW_FORMATS[file_format.row_format]), file_format
