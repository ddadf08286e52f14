"""Installed plugins: what each provides, where it came from, its settings, and problems as `camelid plugins doctor`
reports them.

Knows the plugin host and plugins' settings. Knows nothing of what plugins provide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from camelid_core.config import Config, is_secret, validate
from camelid_core.plugin_host.origins import origin_of
from camelid_core.plugin_settings import PluginSettings, settings_file
from camelid_core.plugins import FIRST_PARTY, Host, Problem


@dataclass(frozen=True, slots=True)
class PluginView:
    """`gives` maps each hook, in words, to the names provided through it; `source` says whether it is installed or a
    working copy, `location` where that lies on this machine."""

    name: str
    version: str
    ours: bool
    gives: Mapping[str, Sequence[str]]
    source: str = ""
    location: str = ""


class PluginService:
    def __init__(self, host: Host) -> None:
        self.host = host

    def all(self) -> list[PluginView]:
        return [
            PluginView(
                plugin.name,
                plugin.version,
                plugin.name in FIRST_PARTY,
                {_word(hook): names for hook, names in self.host.provided_by(plugin.name).items()},
                origin.source,
                origin.location,
            )
            for plugin in self.host.plugins
            for origin in [origin_of(plugin)]
        ]

    def problems(self) -> list[Problem]:
        """Everything that `camelid plugins doctor` finds, what is slow too; each hook of each plugin was called."""
        return [*self.host.check(), *self.host.warnings]

    def left_out(self) -> tuple[str, Sequence[str]]:
        """The option that leaves plugins out, and which; both empty where all are loaded."""
        return self.host.exclusion, self.host.excluded

    def settings(self) -> list[PluginSettings[Any]]:
        """What can be set up here."""
        return list(self.host.registry("camelid_settings"))

    def stored(self, name: str) -> Config:
        """The stored values of a plugin's settings, defaults for others. Raises ConfigError: they do not fit."""
        chosen: PluginSettings[Any] = self.host.registry("camelid_settings")[name]
        return validate(chosen.config, chosen.stored(), str(settings_file()))

    def overridden(self, name: str) -> list[str]:
        """The environment variables that are set and win over what is stored."""
        chosen: PluginSettings[Any] = self.host.registry("camelid_settings")[name]
        return [each.source for each in chosen.show() if each.source not in ("default", "file")]

    def save(self, name: str, config: Config) -> None:
        """Store what differs from the defaults. A secret that is empty stays as it is stored.

        Raises:
            ConfigError: a value does not fit.
        """
        chosen: PluginSettings[Any] = self.host.registry("camelid_settings")[name]
        defaults, changes, unset = chosen.config(), {}, []
        plain = config.model_dump(mode="json")
        for key, field in chosen.config.model_fields.items():
            value = getattr(config, key)
            if is_secret(field):
                if value is not None and value.get_secret_value():
                    changes[key] = value.get_secret_value()
            elif value == getattr(defaults, key):
                unset.append(key)
            else:
                changes[key] = plain[key]
        chosen.save(changes, unset)


def _word(hook: str) -> str:
    return hook.removeprefix("camelid_").replace("_", " ")
