"""The fields of a configuration as help shows them: section by section, with allowed values, default and description.

Knows any configuration class, whose docstrings and bounds it reads. Knows nothing of command lines or widgets.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic.fields import FieldInfo

from .config import Config

_SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


@dataclass(frozen=True, slots=True)
class Section:
    """A configuration class and where it stands: its path and what is said of it there, both empty for the whole.

    `fields` are those that are no sections themselves; `type` is set where a section may be of several classes.
    """

    path: str
    about: str
    cls: type[Config]
    fields: Mapping[str, FieldInfo]

    @property
    def type(self) -> str:
        return str(self.fields["type"].default) if "type" in self.fields else ""


def sections(cls: type[Config], path: str = "", about: str = "") -> Iterator[Section]:
    """The class and all sections inside it; a section that may be of several classes comes once for each."""
    inner = {name: variant_classes(cls, name) for name in cls.model_fields}
    yield Section(path, about, cls, {name: field for name, field in cls.model_fields.items() if not inner[name]})
    for name, classes in inner.items():
        for each in classes:
            yield from sections(each, f"{path}.{name}".strip("."), text_of(cls.model_fields[name]))


def variant_classes(cls: type[Config], name: str) -> list[type[Config]]:
    """The classes a section may be of: as `cls.forms` says, for those that plugins add to, else as annotated; none for
    a field that is no section."""
    forms = list(cls.forms(name)) if hasattr(cls, "forms") else []
    return forms or _annotated_classes(cls.model_fields[name].annotation)


def _annotated_classes(annotation: Any) -> list[type[Config]]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        return [section for part in typing.get_args(annotation) for section in _annotated_classes(part)]
    return []


def text_of(field: FieldInfo) -> str:
    """The description of a field on one line."""
    return " ".join((field.description or "").split())


def allowed(field: FieldInfo) -> str:
    """The choices or the range of a field; empty where its type alone says what it takes."""
    return ", ".join(str(choice) for choice in choices_of(field.annotation)) or range_of(field)


def choices_of(annotation: Any) -> tuple[Any, ...]:
    """The values of a `Literal`, or of a list of them; none of other types."""
    if typing.get_origin(annotation) is list:
        annotation = typing.get_args(annotation)[0]
    return typing.get_args(annotation) if typing.get_origin(annotation) is Literal else ()


def range_of(field: FieldInfo) -> str:
    """The range of a number as signs, which every language reads: `1–1024`, `> 0, < 10`; empty where it has none."""
    found = {name: getattr(item, name) for item in field.metadata for name in _SIGNS if hasattr(item, name)}
    if "ge" in found and "le" in found:
        return f"{found['ge']}–{found['le']}"
    return ", ".join(f"{sign} {found[name]}" for name, sign in _SIGNS.items() if name in found)


def default_of(field: FieldInfo) -> str:
    """The default as an override would say it; empty where there is none."""
    value = None if field.is_required() else field.get_default(call_default_factory=True)
    return "" if value is None else value if isinstance(value, str) and value else json.dumps(value)
