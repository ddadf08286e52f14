"""The name of a new plugin: what may be one, and what is called after it.

Knows what pip, Python and this environment say of a name. Knows no kind.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

from camelid_core.errors import DuplicateName, UsageError, shortened
from camelid_core.registry import Registry

_NAME = re.compile(r"(camelid-)?[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 32
"""Longer names would not fit into the lines of the skeletons."""
_PREFIX = "camelid-"
_FOLDERS = ("src", "tests", "test")
"""A module of such a name would hide others' folders."""


@dataclass(frozen=True, slots=True)
class PluginName:
    """A distribution's name, `camelid-haiku`, and what is called after it."""

    distribution: str

    @property
    def module(self) -> str:
        """The module to import: `camelid_haiku`."""
        return self.distribution.replace("-", "_")

    @property
    def item(self) -> str:
        """The name of what the plugin adds: `haiku`."""
        return self.distribution.removeprefix(_PREFIX)


def checked_name(text: str) -> PluginName:
    """The name that a person typed.

    Raises:
        UsageError: no distribution or module can be called so.
        DuplicateName: an installed one is.
    """
    if not _NAME.fullmatch(text) or len(text) > _LONGEST:
        usual = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_LONGEST].strip("-")
        example = usual if _NAME.fullmatch(usual) else "camelid-haiku"
        raise UsageError(
            f"plugin name {shortened(text)!r} cannot be used: write a letter, then small letters and digits, in words "
            f"joined by '-', {_LONGEST} characters at most; for example {example!r}."
        )
    name = PluginName(text)
    if _is_installed(name.distribution):
        raise DuplicateName(f"a distribution called {text!r} is installed here; choose another name, or uninstall it.")
    if name.module in sys.stdlib_module_names or name.module in _FOLDERS or importlib.util.find_spec(name.module):
        raise DuplicateName(
            f"a module called {name.module!r} is there already, and a plugin of that name would hide it; "
            f"choose another name, such as {_PREFIX + name.item!r}."
        )
    return name


def check_item(name: PluginName, given: Registry[Any], kind: str, reserved: Sequence[str] = ()) -> None:
    """Raises DuplicateName: what the plugin would add has the name of something that is there."""
    if name.item in given or name.item in reserved:
        owner = given.plugin_of(name.item) if name.item in given else "Camelid itself"
        raise DuplicateName(f"{kind} {name.item!r} is given by {owner}; choose another name for the plugin.")


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
