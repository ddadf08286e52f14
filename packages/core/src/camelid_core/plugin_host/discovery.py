"""Finds and imports plugins: entry points of group `camelid`, and copied sources that the environment names.

Knows entry points and how an import can fail. Knows nothing of hooks. What cannot be imported becomes a `Problem`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, distributions
from typing import Any

from camelid_core.hooks import API_VERSION

from .guarded_call import guarded_call, output_to_stderr
from .selection import FIRST_PARTY, PluginSelection, normalized_name

ENTRY_POINT_GROUP = "camelid"
PLUGINS_VARIABLE = "CAMELID_PLUGINS"
"""Environment variable: `NAME==VERSION=MODULE …`, plugins that are on the path without being installed."""
IMPORT_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a plugin, in a sentence; `detail` is the traceback where there is one, and `hook` the hook
    that gave nothing because of it."""

    plugin: str
    message: str
    detail: str = ""
    hook: str = ""


@dataclass(frozen=True, slots=True)
class Plugin:
    """An installed distribution that extends Camelid. `seconds` its import took."""

    name: str
    version: str
    module: Any = field(repr=False)
    seconds: float = field(default=0.0, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Discovery:
    """The plugins that were imported, the names of those that were left out by choice, and what is wrong with any."""

    plugins: Sequence[Plugin]
    excluded: Sequence[str]
    problems: Sequence[Problem]


def discover(selection: PluginSelection | None = None) -> Discovery:
    """Import what the entry points of group `camelid` and `CAMELID_PLUGINS` name and `selection` (by default the
    environment's) chooses: first-party plugins first, then by name.

    Raises:
        UnknownName: the selection names a plugin that is not installed.
        UsageError: the environment makes two choices at once.
    """
    selection = selection or PluginSelection.from_environment()
    found = [(normalized_name(name), entry, version) for entry, name, version in _all_entry_points()]
    selection.require_installed(owner for owner, _, _ in found)
    plugins: dict[str, Plugin] = {}
    problems: list[Problem] = []
    with output_to_stderr():
        for owner, entry, version in sorted(found, key=lambda each: _load_order(each[0])):
            if not selection.wants(owner) or owner in plugins:
                continue
            result = _import(entry, owner, version)
            if isinstance(result, Plugin):
                plugins[owner] = result
            else:
                problems.append(result)
    return Discovery(
        list(plugins.values()), sorted({owner for owner, _, _ in found if not selection.wants(owner)}), problems
    )


def _all_entry_points() -> list[tuple[EntryPoint, str, str]]:
    """Each with the name and the version of its distribution; half-removed distributions have no name and are
    skipped."""
    installed = [
        (entry, dist.name, dist.version)
        for dist in distributions()
        if dist.name
        for entry in dist.entry_points
        if entry.group == ENTRY_POINT_GROUP
    ]
    return [*installed, *_plugins_from_environment()]


def _plugins_from_environment() -> list[tuple[EntryPoint, str, str]]:
    """Copied sources have no metadata that could name them; the environment reaches child processes too."""
    found = []
    for text in os.environ.get(PLUGINS_VARIABLE, "").split():
        requirement, _, module = text.rpartition("=")
        name, _, version = requirement.partition("==")
        found.append((EntryPoint(name, module, ENTRY_POINT_GROUP), name, version))
    return found


def _load_order(name: str) -> tuple[int, str]:
    return (FIRST_PARTY.index(name) if name in FIRST_PARTY else len(FIRST_PARTY), name)


def _import(entry: EntryPoint, owner: str, version: str) -> Plugin | Problem:
    """Import in a thread with a timeout, so that an import that hangs does not hang the program."""
    if normalized_name(entry.name) != owner:
        sentence = f"its entry point is called {entry.name!r}; it must be called {owner!r}, like the distribution."
        return Problem(owner, sentence)
    result = guarded_call(entry.load, f"import {entry.name}", IMPORT_TIMEOUT_SECONDS)
    if result.given_up:
        return Problem(owner, f"importing {entry.value!r} took over {IMPORT_TIMEOUT_SECONDS:g} s and was given up.")
    if result.error is not None:
        return Problem(owner, f"importing {entry.value!r} failed: {result.failure}", result.detail)
    api = getattr(result.value, "CAMELID_API", API_VERSION)
    if api != API_VERSION:
        message = f"it was built for plugin API {api!r}; this Camelid has {API_VERSION}. Install a matching release."
        return Problem(owner, message)
    return Plugin(owner, version, result.value, result.seconds)
