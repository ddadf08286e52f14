"""The base class of every configuration, and how recipes (TOML, YAML, JSON) are read and overridden.

Knows files, overrides and validation messages. Knows no particular recipe.
A field's docstring is its help on the command line, in the docs and in the pages.
"""

from __future__ import annotations

import tomllib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from . import strict_json
from .errors import ConfigError, did_you_mean, shortened

_MAX_BYTES = 1_000_000
ConfigT = TypeVar("ConfigT", bound="Config")


class Config(BaseModel):
    """Frozen; refuses unknown keys; takes each field's docstring as its description. Where a list of texts is wanted,
    one text is a list of one, so that `data.sources=my.jsonl` needs no brackets."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _one_text_as_list(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        lists = {name for name, field in cls.model_fields.items() if field.annotation == list[str]}
        single = {name: [value] for name, value in values.items() if name in lists and isinstance(value, str)}
        return {**values, **single}

    def with_overrides(self, overrides: Sequence[str]) -> Self:
        """A copy with `section.field=value` applied, validated anew."""
        values = self.model_dump(mode="json")
        apply_overrides(values, overrides)
        return validate(type(self), values, "the overrides")


def load(cls: type[ConfigT], path: Path, overrides: Sequence[str] = ()) -> ConfigT:
    """Read a TOML, YAML or JSON recipe and apply `section.field=value` overrides.

    Raises:
        ConfigError: unreadable file, unknown key (with the nearest known one), or value out of bounds.
    """
    values = read_values(path)
    apply_overrides(values, overrides)
    return validate(cls, values, str(path))


def validate(cls: type[ConfigT], values: Mapping[str, Any], where: str) -> ConfigT:
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        lines = [_error_message(cls, detail) for detail in error.errors()]
        raise ConfigError(f"{where}: this does not fit:\n  " + "\n  ".join(lines)) from None


def read_values(path: Path) -> dict[str, Any]:
    """The file as plain values; the suffix says which format."""
    readers: dict[str, Callable[[str], Any]] = {
        ".toml": tomllib.loads,
        ".json": strict_json.loads,
        ".yaml": _yaml,
        ".yml": _yaml,
    }
    if path.suffix not in readers:
        raise ConfigError(f"{str(path)!r} is no recipe: its name must end in {', '.join(sorted(readers))}.")
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{str(path)!r} is over 1 MB; a recipe is a page of settings.")
        values = readers[path.suffix](path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{str(path)!r} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{str(path)!r} is not valid {path.suffix[1:].upper()}: {error}.") from None
    if not values:
        raise ConfigError(f"{str(path)!r} is empty; a recipe says at least what differs from the defaults.")
    if not isinstance(values, dict):
        raise ConfigError(f"{str(path)!r} must hold sections with settings, not a {type(values).__name__}.")
    return values


def apply_overrides(values: dict[str, Any], overrides: Sequence[str]) -> None:
    """Set `a.b=value` in nested `values`; the value is read as TOML where it is TOML, else as text."""
    for override in overrides:
        key, equals, text = override.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            raise ConfigError(f"{override!r} is no override; write section.field=value, for example train.max_steps=5.")
        target = values
        for part in parts[:-1]:
            nested = target.setdefault(part, {})
            if not isinstance(nested, dict):
                raise ConfigError(f"{override!r}: {part!r} is a value, not a section.")
            target = nested
        target[parts[-1]] = parse_value(text)


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Overrides alone, as nested values."""
    values: dict[str, Any] = {}
    apply_overrides(values, overrides)
    return values


def parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _yaml(text: str) -> Any:
    from .strict_yaml import loads  # an attempt reads none, and starts sooner without it

    return loads(text)


def _error_message(cls: type[BaseModel], detail: ErrorDetails) -> str:
    path = ".".join(str(part) for part in detail["loc"]) or "the recipe"
    if detail["type"] == "extra_forbidden":
        known = _fields_at(cls, detail["loc"][:-1])
        return f"{path}: unknown key.{did_you_mean(str(detail['loc'][-1]), known)} Known: {', '.join(sorted(known))}."
    if detail["type"] == "missing":
        return f"{path}: required, but not given."
    given = "" if _holds_secret(cls, detail["loc"]) else f" (given: {shortened(repr(detail['input']))})"
    return f"{path}: {detail['msg'].removeprefix('Value error, ')}{given}."


def is_secret(field: FieldInfo) -> bool:
    """Whether the value of a field must not be shown."""
    return SecretStr in (field.annotation, *typing.get_args(field.annotation))


def _holds_secret(cls: type[BaseModel], loc: tuple[int | str, ...]) -> bool:
    """Whether what stands at `loc` is a secret, or the whole with one in it."""
    fields = cls.model_fields
    return any(map(is_secret, fields.values())) if not loc else str(loc[0]) in fields and is_secret(fields[str(loc[0])])


def _fields_at(cls: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Field names of the configuration class reached by `loc`, through unions by their tag."""
    known: type[BaseModel] = cls
    for part in loc:
        field = known.model_fields.get(str(part))
        options = _models_in(field.annotation if field else None) or [
            option for option in _models_in(known) if option.__name__ == part
        ]
        tagged = [option for option in options if _tag(option) == part]
        known = (tagged or options or [known])[0]
    return list(known.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        return [model for part in typing.get_args(annotation) for model in _models_in(part)]
    return []


def _tag(cls: type[BaseModel]) -> str | None:
    field = cls.model_fields.get("type")
    return str(field.default) if field else None
