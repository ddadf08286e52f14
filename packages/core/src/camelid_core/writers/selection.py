"""Which writer writes a file: the name says the format, the suffix says the form of the file.

Knows names and suffixes. Knows neither formats nor forms from within.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from camelid_core.errors import UnknownName, UsageError

from .file_formats import FORMS, Form
from .row_formats import SHAPES, Shape


@dataclass(frozen=True, slots=True)
class Writer:
    """A name that can be asked for. With `form`, the file has that form whatever its suffix."""

    name: str
    help: str
    shape: Shape
    form: Form | None = None


_SHAPES = {shape.name: shape for shape in SHAPES}
WRITERS: Mapping[str, Writer] = MappingProxyType(
    {shape.name: Writer(shape.name, shape.help, shape) for shape in SHAPES}
    | {
        form.name: Writer(
            form.name, f"A {form.name.upper()} file: {_SHAPES[form.shape].help}", _SHAPES[form.shape], form
        )
        for form in FORMS
        if form.name in ("csv", "tsv", "parquet")
    }
)


def choose(path: Path, name: str = "") -> tuple[Shape, Form]:
    """What to write and how.

    Raises:
        UnknownName: no writer is called `name`.
        UsageError: the suffix stands for no form of file.
    """
    if name and name not in WRITERS:
        raise UnknownName("writer", name, WRITERS)
    writer = WRITERS[name] if name else None
    by_suffix = next((form for form in FORMS if path.suffix.lower() in form.suffixes), None)
    form = (writer.form if writer else None) or by_suffix
    if form is None:
        suffixes = [suffix for form in FORMS for suffix in form.suffixes]
        raise UsageError(f"{str(path)!r} must end in {', '.join(suffixes[:-1])} or {suffixes[-1]}.")
    return (writer.shape if writer else _SHAPES[form.shape]), form
