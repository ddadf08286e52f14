"""Settings of plugins: a configuration class that a plugin names, kept in one private file, overridden by environment
variables.

Knows classes, the file and the variables. Knows nothing of plugins, commands or pages. A secret (`SecretStr`) is
stored, and never shown: not in listings, not in messages.
"""

from __future__ import annotations

import json
import os
import re
import types
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from pydantic import SecretStr

from . import strict_json
from .config import ConfigT, is_secret, parse_value, validate
from .config_help import allowed, text_of
from .errors import ConfigError, UsageError, did_you_mean
from .file_permissions import make_private_directory, restrict_to_owner
from .integrity import write_durably
from .paths import home

_FILE = "plugin-settings.json"
_NAME = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True, slots=True)
class Setting:
    """One field as it stands. `value` is what holds now, of a secret only whether it is set; `source` says where it
    comes from: `default`, `file`, or the environment variable."""

    name: str
    value: Any
    source: str
    help: str
    allowed: str
    variable: str
    secret: bool


@dataclass(frozen=True, slots=True)
class PluginSettings(Generic[ConfigT]):
    """What a plugin can be set up with: a module constant that its hook `camelid_settings` returns and its code
    `load`s whenever it needs a value.

    `name` is the distribution's without `camelid-`. Every field of `config` has a default: a plugin works unless it
    is set up, or says what is missing when it is needed.
    """

    name: str
    config: type[ConfigT]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"settings {self.name!r}: a name has small letters, digits and '-', as 'openai-engine'")
        if required := [name for name, field in self.config.model_fields.items() if field.is_required()]:
            raise ValueError(f"settings {self.name!r}: {required[0]!r} has no default; give it one")

    def load(self) -> ConfigT:
        """The settings that hold now: of the environment, else of the file, else the defaults.

        Raises:
            ConfigError: a value does not fit, or the file is damaged.
        """
        from_file, from_environment = self.stored(), self._from_environment()
        where = f"{settings_file()} or the environment" if from_environment else str(settings_file())
        return validate(self.config, {**from_file, **from_environment}, where)

    def show(self) -> list[Setting]:
        """Every field, its value and where that comes from. Raises ConfigError as `load` does."""
        now, stored, variables = self.load(), self.stored(), self._from_environment()
        return [
            Setting(
                name,
                _shown(getattr(now, name)),
                self.variable(name) if name in variables else "file" if name in stored else "default",
                text_of(field),
                allowed(field),
                self.variable(name),
                is_secret(field),
            )
            for name, field in self.config.model_fields.items()
        ]

    def variable(self, field: str) -> str:
        """The environment variable that overrides a field."""
        return f"CAMELID_{self.name}_{field}".upper().replace("-", "_")

    def stored(self) -> dict[str, Any]:
        """What the file holds, secrets as they are. Raises ConfigError: it is damaged."""
        return dict(_read_file().get(self.name, {}))

    def save(self, changes: Mapping[str, Any], unset: Collection[str] = ()) -> None:
        """Store these values beside those that are stored, and drop those of `unset`.

        Raises:
            UsageError: there is no such field.
            ConfigError: a value does not fit; nothing is stored then.
        """
        for name in (*changes, *unset):
            if name not in self.config.model_fields:
                known = list(self.config.model_fields)
                raise UsageError(
                    f"{self.name} has no setting {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}."
                )
        everything = _read_file()
        values = {name: value for name, value in everything.get(self.name, {}).items() if name not in unset}
        values |= changes
        validate(self.config, values, f"the settings of {self.name}")
        make_private_directory(home())
        text = json.dumps(everything | {self.name: values}, ensure_ascii=False, indent=2)
        write_durably(settings_file(), text.encode(), private=True)

    def parsed(self, name: str, text: str) -> Any:
        """The value that a text means for a field: as TOML for lists and tables, else as it stands, which pydantic
        reads."""
        field = self.config.model_fields.get(name)
        return parse_value(text) if field is not None and _is_composite(field.annotation) else text

    def _from_environment(self) -> dict[str, Any]:
        found = {name: os.environ.get(self.variable(name), "") for name in self.config.model_fields}
        return {name: self.parsed(name, text) for name, text in found.items() if text}


def settings_file() -> Path:
    return home() / _FILE


def _read_file() -> dict[str, dict[str, Any]]:
    path = settings_file()
    try:
        text = path.read_text(encoding="utf-8")
        restrict_to_owner(path)
        values = strict_json.loads(text)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{str(path)!r} cannot be read: {error}. Correct it, or delete it and set all anew."
        ) from None
    if not isinstance(values, dict) or not all(isinstance(each, dict) for each in values.values()):
        raise ConfigError(f"{str(path)!r} must hold an object of objects; delete it and set all anew.")
    return values


def _shown(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return "set" if value.get_secret_value() else ""
    return str(value) if isinstance(value, Path) else value


def _is_composite(annotation: Any) -> bool:
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(_is_composite(part) for part in parts)
    return typing.get_origin(annotation) in (list, tuple, set, dict)
