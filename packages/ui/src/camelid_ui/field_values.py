"""Values of fields → configuration → overrides, and back.

Knows fields and what a person may type into them. Knows nothing of widgets.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from camelid_core.config import Config, ConfigT, parse_value, validate
from camelid_core.errors import ConfigError

from .config_fields import ConfigField, config_fields


class InvalidFields(ConfigError):
    """`errors` maps a field's path to what is wrong with it; errors of the whole are under the empty path."""

    def __init__(self, message: str, errors: Mapping[str, str]) -> None:
        super().__init__(message)
        self.errors = dict(errors)


def default_values(cls: type[Config]) -> dict[str, Any]:
    """By the fields' keys."""
    return {config_field.key: config_field.default for config_field in config_fields(cls)}


def values_of(config: Config) -> dict[str, Any]:
    """What each field shows for `config`; one that the chosen variant has not shows its default."""
    values = flat(config)
    return {
        config_field.key: values.get(config_field.path, config_field.default)
        if config_field.belongs_to(values.get(config_field.type_path))
        else config_field.default
        for config_field in config_fields(type(config))
    }


def flat(config: Config) -> dict[str, Any]:
    """A configuration's values by path; of a secret nothing."""
    secrets = {config_field.path: "" for config_field in config_fields(type(config)) if config_field.secret}
    whole = {config_field.path for config_field in config_fields(type(config)) if config_field.kind == "pairs"}
    return dict(_flatten(config.model_dump(mode="json"), whole)) | secrets


def build(cls: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """The configuration that widget values make.

    Raises:
        Invalid: with one sentence per field that does not fit.
    """
    nested: dict[str, Any] = {}
    defaults = default_values(cls)
    for config_field in config_fields(cls):
        if config_field.key not in values or not config_field.belongs_to(
            values.get(config_field.type_path) or defaults.get(config_field.type_path)
        ):
            continue
        value = _clean(config_field, values[config_field.key])
        if value is None and not config_field.optional:
            continue
        target = nested
        for part in config_field.path.split(".")[:-1]:
            target = target.setdefault(part, {})
        target[config_field.name] = value
    try:
        return validate(cls, nested, "the settings")
    except ConfigError as error:
        errors = dict(_by_path(str(error)))
        raise InvalidFields("\n".join(f"{path}: {text}" for path, text in errors.items()), errors) from None


def overrides(config: Config, always: Sequence[str] = ()) -> list[str]:
    """`section.field=value` for every field that differs from its default, and for those under `always`."""
    values = flat(config)
    said = {path: values[path] for path in always} | non_default(config)
    return [f"{path}={_literal(value)}" for path, value in said.items()]


def non_default(config: Config) -> dict[str, Any]:
    """Path and value of every field that differs from its default: of a section with variants, the chosen one's."""
    values = flat(config)
    defaults = {
        config_field.path: config_field.default
        for config_field in config_fields(type(config))
        if config_field.belongs_to(values.get(config_field.type_path))
    }
    return {path: value for path, value in values.items() if path in defaults and value != defaults[path]}


def _clean(config_field: ConfigField, value: Any) -> Any:
    """What a widget holds → what the class takes."""
    if config_field.kind == "lines":
        lines = value.splitlines() if isinstance(value, str) else value or []
        return [line for line in lines if line.strip()]
    if config_field.kind == "pairs":
        return dict(_pairs(value)) if isinstance(value, str) else value
    if config_field.kind == "text":
        return (value or "").strip()
    if config_field.kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    return None if value == "" else value


def _flatten(values: Mapping[str, Any], whole: Collection[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and prefix + key not in whole:
            yield from _flatten(value, whole, f"{prefix}{key}.")
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
