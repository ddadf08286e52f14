"""Installed plugins, what each provides, and problems, as `camelid doctor` reports them.

Knows the plugin host. Knows nothing of what plugins provide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from camelid_core.plugins import FIRST_PARTY, Host, Problem


@dataclass(frozen=True, slots=True)
class PluginView:
    """`gives` maps each hook, in words, to the names provided through it."""

    name: str
    version: str
    ours: bool
    gives: Mapping[str, Sequence[str]]


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
            )
            for plugin in self.host.plugins
        ]

    def problems(self) -> list[Problem]:
        """Everything that `camelid doctor` finds; each hook of each plugin was called."""
        return list(dict.fromkeys(self.host.check()))


def _word(hook: str) -> str:
    return hook.removeprefix("camelid_").replace("_", " ")
