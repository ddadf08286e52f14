"""Which of the installed plugins this program loads: all, none, or those that a person names.

Knows the two environment variables, which child processes inherit, and the options that set them. Knows nothing of
what plugins are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from typing import Self

from camelid_core.errors import UnknownName, UsageError

NO_PLUGINS = "CAMELID_NO_PLUGINS"
"""Environment variable: `1` loads Camelid's own packages alone, as `camelid --no-plugins` does."""
ONLY_PLUGINS = "CAMELID_ONLY_PLUGINS"
"""Environment variable: `NAME,NAME` loads these plugins alone, as `camelid --only-plugins NAME,NAME` does."""
FIRST_PARTY = ("camelid-core", "camelid-train", "camelid-serve", "camelid-ui")
"""Camelid's own packages, which are always loaded, in this order."""
_PREFIX = "camelid-"
_OFF = ("", "0", "false", "no")


@dataclass(frozen=True, slots=True)
class PluginSelection:
    """`names` are the plugins to load beside Camelid's own packages, as they were typed; None means all."""

    names: tuple[str, ...] | None = None

    @classmethod
    def from_environment(cls) -> Self:
        """Raises UsageError: both variables are set."""
        none = os.environ.get(NO_PLUGINS, "").strip().lower() not in _OFF
        only = os.environ.get(ONLY_PLUGINS, "")
        if none and only.strip():
            raise UsageError(f"{NO_PLUGINS} and {ONLY_PLUGINS} are both set; unset one of them.")
        if not none and not only.strip():
            return cls()
        return cls(() if none else parse_names(only))

    @property
    def option(self) -> str:
        """The option that makes this choice; empty where all are loaded."""
        if self.names is None:
            return ""
        return f"--only-plugins {','.join(self.names)}" if self.names else "--no-plugins"

    def wants(self, plugin: str) -> bool:
        """Whether to load a plugin; a name typed without `camelid-` means the plugin with it too."""
        return self.names is None or plugin in FIRST_PARTY or any(plugin in spellings(name) for name in self.names)

    def require_installed(self, installed: Iterable[str]) -> None:
        """Raises UnknownName: a plugin that is named is not installed; with the nearest that is."""
        known = set(installed)
        for name in self.names or ():
            if not known.intersection(spellings(name)):
                raise UnknownName("plugin", spellings(name)[-1], known, "camelid plugins list")


def parse_names(text: str) -> tuple[str, ...]:
    """`a, b` → normalised names.

    Raises:
        UsageError: no name is in it.
    """
    names = tuple(dict.fromkeys(normalized_name(part.strip()) for part in text.split(",") if part.strip()))
    if not names:
        raise UsageError(
            f"--only-plugins {text!r} names no plugin; write --only-plugins gguf,trl, or --no-plugins for none."
        )
    return names


def select_plugins(environment: MutableMapping[str, str], only: str | None) -> None:
    """Choose in `environment`, for this process and all that it starts; `only` None means no plugin at all.

    Raises:
        UsageError: `only` names none.
    """
    for variable in (NO_PLUGINS, ONLY_PLUGINS):
        environment.pop(variable, None)
    if only is None:
        environment[NO_PLUGINS] = "1"
    else:
        environment[ONLY_PLUGINS] = ",".join(parse_names(only))


def normalized_name(name: str) -> str:
    """A distribution's name as packaging compares it."""
    return name.lower().replace("_", "-").replace(".", "-")


def spellings(name: str) -> tuple[str, ...]:
    """The names of distributions that a typed name can mean: `gguf` means `camelid-gguf` too."""
    name = normalized_name(name)
    return (name,) if name.startswith(_PREFIX) else (name, _PREFIX + name)
