"""A configuration class as a flat list of fields: paths, kinds, bounds, defaults.

Knows classes only. A section may be a union of several classes (variants), discriminated by its `type`; a field that
two variants mean differently is listed once for each, of which the page shows that of the chosen variant.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from camelid_core.config import Config, is_secret
from camelid_core.config_help import choices_of, range_of, variant_classes
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

FieldKind = Literal["text", "integer", "number", "boolean", "choice", "lines", "pairs"]


@dataclass(frozen=True, slots=True)
class ConfigField:
    """One field. `path` is what an override says (`train.epochs`); `variants` are the values of the
    section's `type` it belongs to, none meaning all; `key` is the path, with a variant behind an `@`
    where an earlier variant has a field of that path which means something else. A `secret` one has no value here."""

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
    secret: bool = False

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
        """The path of the field that says which variant its section is; empty where there is one only."""
        return f"{self.section}.type" if self.variants else ""

    def belongs_to(self, variant: Any) -> bool:
        """Whether a section of this `type` has the field."""
        return not self.variants or variant in self.variants


def config_fields(cls: type[Config]) -> list[ConfigField]:
    """Every field a person can set, nested sections included, in the order of the class."""
    return list(_class_fields(cls))


@functools.cache
def _class_fields(cls: type[Config]) -> tuple[ConfigField, ...]:
    return tuple(_section_fields(cls, ""))


def _section_fields(cls: type[Config], prefix: str, variant: str = "") -> list[ConfigField]:
    found: list[ConfigField] = []
    for name, field in cls.model_fields.items():
        variants = variant_classes(cls, name)
        path = prefix + name
        if not variants:
            found += _leaf_field(path, field, variant)
        elif len(variants) == 1:
            found += _section_fields(variants[0], f"{path}.")
        else:
            found += _union_fields(path, variants, field.description or "")
    return found


def _union_fields(path: str, variants: Sequence[type[Config]], about: str) -> list[ConfigField]:
    """A discriminated union: its `type` as a choice, then the fields of each variant, those they share once."""
    tags = [str(variant.model_fields["type"].default) for variant in variants]
    shared: list[ConfigField] = []
    for variant, tag in zip(variants, tags, strict=True):
        for config_field in _section_fields(variant, f"{path}.", tag):
            same = next((at for at, other in enumerate(shared) if _same_meaning(config_field, other)), None)
            if same is not None:
                shared[same] = replace(shared[same], variants=shared[same].variants | {tag})
            else:
                taken = any(other.path == config_field.path for other in shared)
                shared.append(replace(config_field, key=f"{config_field.path}@{tag}") if taken else config_field)
    type_path = f"{path}.type"
    about = about or variants[0].model_fields["type"].description or ""
    return [ConfigField(type_path, "choice", about, tags[0], choices=tuple(tags), key=type_path), *shared]


def _same_meaning(config_field: ConfigField, other: ConfigField) -> bool:
    """Whether two variants mean the same by a field."""
    return replace(config_field, variants=other.variants, key=other.key) == other


def _leaf_field(path: str, field: FieldInfo, variant: str) -> list[ConfigField]:
    annotation, optional = _without_none(field.annotation)
    choices = choices_of(annotation)
    if len(choices) == 1:
        return []  # nothing to choose
    required = field.is_required()
    secret = is_secret(field)
    default = "" if secret else None if required else to_jsonable_python(field.get_default(call_default_factory=True))
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
            secret=secret,
        )
    ]


def _kind(annotation: Any) -> FieldKind:
    if typing.get_origin(annotation) is Literal:
        return "choice"
    if typing.get_origin(annotation) in (list, tuple):
        return "lines"
    if typing.get_origin(annotation) is dict:
        return "pairs"
    kinds: dict[Any, FieldKind] = {bool: "boolean", int: "integer", float: "number"}
    return kinds.get(annotation, "text")


def _without_none(annotation: Any) -> tuple[Any, bool]:
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType) and type(None) in parts:
        return next(part for part in parts if part is not type(None)), True
    return annotation, False
