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
    def head(self) -> str:
        """The path of the knob that says which form its section has; empty where there is one form only."""
        return f"{self.section}.type" if self.variants else ""

    def fits(self, form: Any) -> bool:
        """Whether a section of this `type` has the knob."""
        return not self.variants or form in self.variants


def config_fields(cls: type[Config]) -> list[ConfigField]:
    """Every field a person can set, nested sections included, in the order of the class."""
    return list(_of_class(cls))


@functools.cache
def _of_class(cls: type[Config]) -> tuple[ConfigField, ...]:
    return tuple(_knobs(cls, ""))


def _knobs(cls: type[Config], prefix: str, variant: str = "") -> list[ConfigField]:
    found: list[ConfigField] = []
    for name, field in cls.model_fields.items():
        forms = _forms(cls, name, field)
        path = prefix + name
        if not forms:
            found += _knob(path, field, variant)
        elif len(forms) == 1:
            found += _knobs(forms[0], f"{path}.")
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
        for knob in _knobs(form, f"{path}.", tag):
            same = next((at for at, other in enumerate(shared) if _alike(knob, other)), None)
            if same is not None:
                shared[same] = replace(shared[same], variants=shared[same].variants | {tag})
            else:
                taken = any(other.path == knob.path for other in shared)
                shared.append(replace(knob, key=f"{knob.path}@{tag}") if taken else knob)
    head = f"{path}.type"
    about = about or forms[0].model_fields["type"].description or ""
    return [ConfigField(head, "choice", about, tags[0], choices=tuple(tags), key=head), *shared]


def _alike(knob: ConfigField, other: ConfigField) -> bool:
    """Whether two forms mean the same by a field."""
    return replace(knob, variants=other.variants, key=other.key) == other


def _knob(path: str, field: FieldInfo, variant: str) -> list[ConfigField]:
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
