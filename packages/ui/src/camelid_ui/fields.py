"""A configuration class as a flat list of knobs, and back: values → overrides → configuration.

Knows classes, bounds and defaults. Knows nothing of widgets: what a page shows about a field, the
class already says.
"""

from __future__ import annotations

import json
import shlex
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from camelid_core.config import Config, ConfigT, parse_value, validate
from camelid_core.errors import ConfigError
from pydantic.fields import FieldInfo

Kind = Literal["text", "whole", "number", "flag", "choice", "lines", "pairs"]


@dataclass(frozen=True, slots=True)
class Knob:
    """One field. `path` is what an override says (`train.epochs`); `variants` are the values of the
    section's `type` it belongs to, none meaning all."""

    path: str
    kind: Kind
    help: str
    default: Any = None
    required: bool = False
    optional: bool = False
    choices: tuple[Any, ...] = ()
    bounds: str = ""
    variants: frozenset[str] = frozenset()

    @property
    def section(self) -> str:
        return self.path.rpartition(".")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def title(self) -> str:
        return self.name.replace("_", " ").capitalize()


class Invalid(ConfigError):
    """`errors` maps a knob's path to what is wrong with it; errors of the whole are under the empty path."""

    def __init__(self, message: str, errors: Mapping[str, str]) -> None:
        super().__init__(message)
        self.errors = dict(errors)


def knobs(cls: type[Config], prefix: str = "", variant: str = "") -> list[Knob]:
    """Every field a person can set, nested sections included, in the order of the class."""
    found: list[Knob] = []
    for name, field in cls.model_fields.items():
        sections = _sections(field.annotation)
        path = prefix + name
        if not sections:
            found += _knob(path, field, variant)
        elif len(sections) == 1:
            found += knobs(sections[0], f"{path}.")
        else:
            found += _variants(path, sections)
    return found


def default_values(cls: type[Config]) -> dict[str, Any]:
    return {knob.path: knob.default for knob in knobs(cls)}


def flat(config: Config) -> dict[str, Any]:
    """A configuration's values by path."""
    whole = {knob.path for knob in knobs(type(config)) if knob.kind == "pairs"}
    return dict(_flat(config.model_dump(mode="json"), whole))


def build(cls: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """The configuration that widget values make.

    Raises:
        Invalid: with one sentence per field that does not fit.
    """
    nested: dict[str, Any] = {}
    for knob in knobs(cls):
        chosen = values.get(f"{knob.section}.type")
        if knob.path not in values or (knob.variants and chosen is not None and chosen not in knob.variants):
            continue
        value = _clean(knob, values[knob.path])
        if value is None and not knob.optional:
            continue
        target = nested
        for part in knob.path.split(".")[:-1]:
            target = target.setdefault(part, {})
        target[knob.name] = value
    try:
        return validate(cls, nested, "the settings")
    except ConfigError as error:
        errors = dict(_by_path(str(error)))
        raise Invalid("\n".join(f"{path}: {text}" for path, text in errors.items()), errors) from None


def overrides(config: Config) -> list[str]:
    """`section.field=value` for every field that differs from its default."""
    defaults = default_values(type(config))
    return [
        f"{path}={_literal(value)}"
        for path, value in flat(config).items()
        if path in defaults and value != defaults[path]
    ]


def command_line(command: str, config: Config) -> str:
    """The same thing as a command to type."""
    return " ".join([command, *(shlex.quote(override) for override in overrides(config))])


def _variants(path: str, sections: Sequence[type[Config]]) -> list[Knob]:
    """A section with several forms: its `type` as a choice, then the fields of each form once."""
    tags = [str(section.model_fields["type"].default) for section in sections]
    merged: dict[str, Knob] = {}
    for section, tag in zip(sections, tags, strict=True):
        for knob in knobs(section, f"{path}.", tag):
            known = merged.get(knob.path)
            merged[knob.path] = _with_variants(known or knob, (known.variants if known else frozenset()) | {tag})
    head = Knob(
        f"{path}.type", "choice", sections[0].model_fields["type"].description or "", tags[0], choices=tuple(tags)
    )
    return [head, *merged.values()]


def _with_variants(knob: Knob, variants: frozenset[str]) -> Knob:
    from dataclasses import replace

    return replace(knob, variants=variants)


def _knob(path: str, field: FieldInfo, variant: str) -> list[Knob]:
    annotation, optional = _without_none(field.annotation)
    choices = typing.get_args(annotation) if typing.get_origin(annotation) is Literal else ()
    if len(choices) == 1:
        return []  # nothing to choose
    required = field.is_required()
    default = None if required else json.loads(json.dumps(field.get_default(call_default_factory=True)))
    return [
        Knob(
            path=path,
            kind=_kind(annotation),
            help=field.description or "",
            default=default,
            required=required,
            optional=optional,
            choices=choices,
            bounds=_bounds(field),
            variants=frozenset({variant}) if variant else frozenset(),
        )
    ]


def _kind(annotation: Any) -> Kind:
    if typing.get_origin(annotation) is Literal:
        return "choice"
    if typing.get_origin(annotation) in (list, tuple):
        return "lines"
    if typing.get_origin(annotation) is dict:
        return "pairs"
    kinds: dict[Any, Kind] = {bool: "flag", int: "whole", float: "number"}
    return kinds.get(annotation, "text")


def _bounds(field: FieldInfo) -> str:
    """Bounds as signs, which every language reads: `1–1024`, `> 0, < 10`."""
    found = {name: getattr(item, name) for item in field.metadata for name in _SIGNS if hasattr(item, name)}
    if "ge" in found and "le" in found:
        return f"{found['ge']}–{found['le']}"
    return ", ".join(f"{sign} {found[name]}" for name, sign in _SIGNS.items() if name in found)


_SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def _sections(annotation: Any) -> list[type[Config]]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        return [section for part in typing.get_args(annotation) for section in _sections(part)]
    return []


def _without_none(annotation: Any) -> tuple[Any, bool]:
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType) and type(None) in parts:
        return next(part for part in parts if part is not type(None)), True
    return annotation, False


def _clean(knob: Knob, value: Any) -> Any:
    """What a widget holds → what the class takes."""
    if knob.kind == "lines":
        lines = value.splitlines() if isinstance(value, str) else value or []
        return [line for line in lines if line.strip()]
    if knob.kind == "pairs":
        return dict(_pairs(value)) if isinstance(value, str) else value
    if knob.kind == "text":
        return (value or "").strip()
    if knob.kind == "whole" and isinstance(value, float) and value.is_integer():
        return int(value)
    return None if value == "" else value


def _flat(values: Mapping[str, Any], whole: Collection[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and prefix + key not in whole:
            yield from _flat(value, whole, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _pairs(text: str) -> Iterator[tuple[str, Any]]:
    """`name=value` on each line; a value that is a number is one."""
    for line in text.splitlines():
        if line.strip():
            name, _, value = line.rpartition("=")
            yield name.strip() or value.strip(), parse_value(value.strip()) if name else None


def _literal(value: Any) -> str:
    """As short as it can be and still read back as the same value."""
    plain = str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(name)} = {_literal(each)}" for name, each in value.items()) + "}"
    if isinstance(value, str) and parse_value(plain) == value:
        return plain
    return (
        f"{value:g}"
        if isinstance(value, float) and float(f"{value:g}") == value
        else json.dumps(value, ensure_ascii=False)
    )


def _quoted(text: str) -> str:
    """As TOML writes it: like JSON, but for one control character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _by_path(message: str) -> Iterator[tuple[str, str]]:
    """The lines of a `ConfigError` → path and sentence, without variant tags and list positions in the path."""
    for line in message.splitlines()[1:]:
        path, _, text = line.strip().partition(": ")
        yield path, text[:1].upper() + text[1:]
