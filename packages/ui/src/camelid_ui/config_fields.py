"""A configuration class as a flat list of knobs: paths, kinds, bounds, defaults.

Knows classes only. A section may have several forms, told apart by its `type`; a field that two forms
mean differently is two knobs, of which the page shows the chosen form's.
"""

from __future__ import annotations

import functools
import json
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from camelid_core.config import Config
from camelid_core.config_help import choices_of, range_of, section_classes
from pydantic.fields import FieldInfo

FieldKind = Literal["text", "whole", "number", "flag", "choice", "lines", "pairs"]


@dataclass(frozen=True, slots=True)
class ConfigField:
    """One field. `path` is what an override says (`train.epochs`); `variants` are the values of the
    section's `type` it belongs to, none meaning all; `key` is the path, with a variant behind an `@`
    where an earlier form has a field of that path which means something else."""

    path: str
    kind: FieldKind
    help: str
    default: Any = None
    required: bool = False
    optional: bool = False
    choices: tuple[Any, ...] = ()
    bounds: str = ""
    variants: frozenset[str] = frozenset()
    key: str = ""

    @property
    def section(self) -> str:
        return self.path.rpartition(".")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def title(self) -> str:
        return self.name.replace("_", " ").capitalize()

    @property
    def type_path(self) -> str:
        """The path of the knob that says which form its section has; empty where there is one form only."""
        return f"{self.section}.type" if self.variants else ""

    def belongs_to(self, form: Any) -> bool:
        """Whether a section of this `type` has the knob."""
        return not self.variants or form in self.variants


def config_fields(cls: type[Config]) -> list[ConfigField]:
    """Every field a person can set, nested sections included, in the order of the class."""
    return list(_class_fields(cls))


@functools.cache
def _class_fields(cls: type[Config]) -> tuple[ConfigField, ...]:
    return tuple(_section_fields(cls, ""))


def _section_fields(cls: type[Config], prefix: str, variant: str = "") -> list[ConfigField]:
    found: list[ConfigField] = []
    for name, field in cls.model_fields.items():
        forms = _forms(cls, name, field)
        path = prefix + name
        if not forms:
            found += _leaf_field(path, field, variant)
        elif len(forms) == 1:
            found += _section_fields(forms[0], f"{path}.")
        else:
            found += _variants(path, forms, field.description or "")
    return found


def _forms(cls: type[Config], name: str, field: FieldInfo) -> Sequence[type[Config]]:
    """The classes a section may be of: as `cls.forms` says, for those that plugins add to, else as annotated."""
    given = cls.forms(name) if hasattr(cls, "forms") else ()
    return given or section_classes(field.annotation)


def _variants(path: str, forms: Sequence[type[Config]], about: str) -> list[ConfigField]:
    """A section with several forms: its `type` as a choice, then the fields of each form, those they share once."""
    tags = [str(form.model_fields["type"].default) for form in forms]
    shared: list[ConfigField] = []
    for form, tag in zip(forms, tags, strict=True):
        for config_field in _section_fields(form, f"{path}.", tag):
            same = next((at for at, other in enumerate(shared) if _same_meaning(config_field, other)), None)
            if same is not None:
                shared[same] = replace(shared[same], variants=shared[same].variants | {tag})
            else:
                taken = any(other.path == config_field.path for other in shared)
                shared.append(replace(config_field, key=f"{config_field.path}@{tag}") if taken else config_field)
    type_path = f"{path}.type"
    about = about or forms[0].model_fields["type"].description or ""
    return [ConfigField(type_path, "choice", about, tags[0], choices=tuple(tags), key=type_path), *shared]


def _same_meaning(config_field: ConfigField, other: ConfigField) -> bool:
    """Whether two forms mean the same by a field."""
    return replace(config_field, variants=other.variants, key=other.key) == other


def _leaf_field(path: str, field: FieldInfo, variant: str) -> list[ConfigField]:
    annotation, optional = _without_none(field.annotation)
    choices = choices_of(annotation)
    if len(choices) == 1:
        return []  # nothing to choose
    required = field.is_required()
    default = None if required else json.loads(json.dumps(field.get_default(call_default_factory=True)))
    return [
        ConfigField(
            path=path,
            kind=_kind(annotation),
            help=" ".join((field.description or "").split()),
            default=default,
            required=required,
            optional=optional,
            choices=choices,
            bounds=range_of(field),
            variants=frozenset({variant}) if variant else frozenset(),
            key=path,
        )
    ]


def _kind(annotation: Any) -> FieldKind:
    if typing.get_origin(annotation) is Literal:
        return "choice"
    if typing.get_origin(annotation) in (list, tuple):
        return "lines"
    if typing.get_origin(annotation) is dict:
        return "pairs"
    kinds: dict[Any, FieldKind] = {bool: "flag", int: "whole", float: "number"}
    return kinds.get(annotation, "text")


def _without_none(annotation: Any) -> tuple[Any, bool]:
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType) and type(None) in parts:
        return next(part for part in parts if part is not type(None)), True
    return annotation, False
