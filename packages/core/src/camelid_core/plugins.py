"""Discover, load and check plugins; collect what they provide into registries.

Knows entry points, pluggy and how a plugin can be broken. Knows nothing of what plugins provide.
A broken plugin becomes a `Problem` in the report: never silent, never fatal to the rest.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import threading
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, distributions
from typing import Any

import pluggy

from .errors import CamelidError, did_you_mean
from .hooks import API_VERSION
from .registry import Registry

ENTRY_POINT_GROUP = "camelid"
PLUGINS_VARIABLE = "CAMELID_PLUGINS"
"""Environment variable: `NAME==VERSION=MODULE …`, plugins that are on the path without being installed."""
IMPORT_TIMEOUT_SECONDS = 10.0
FIRST_PARTY = ("camelid-core", "camelid-train", "camelid-serve", "camelid-ui")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a plugin, in a sentence; `detail` is the traceback where there is one."""

    plugin: str
    message: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """What `camelid plugins doctor` says beside problems: `text` is a fact about the thing called `name`, such as why
    another package is not used."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Plugin:
    """An installed distribution that extends Camelid."""

    name: str
    version: str
    module: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class HookDescription:
    """One hook: the word for what it collects, used in messages, and the command that lists it."""

    hook: str
    word: str
    listing: str = ""


_HOOKS = {
    kind.hook: kind
    for kind in (
        HookDescription("camelid_model_adapters", "model adapter", "camelid models list"),
        HookDescription("camelid_checkpoint_converters", "checkpoint converter", "camelid models list"),
        HookDescription("camelid_prompt_templates", "template", "camelid templates list"),
        HookDescription("camelid_datasets", "dataset", "camelid datasets list"),
        HookDescription("camelid_readers", "reader"),
        HookDescription("camelid_commands", "command", "camelid --help"),
        HookDescription("camelid_compat_commands", "compat command", "camelid compat --help"),
        HookDescription("camelid_tasks", "task"),
        HookDescription("camelid_executors", "executor"),
        HookDescription("camelid_notes", "note", "camelid plugins doctor"),
    )
}


class Host:
    """All loaded plugins. `registry(hook)` has what they provide; `problems` what is wrong with any."""

    def __init__(self) -> None:
        self.plugins: list[Plugin] = []
        self.problems: list[Problem] = []
        self._manager = pluggy.PluginManager("camelid")
        self._manager.add_hookspecs(importlib.import_module("camelid_core.hookspecs"))
        self._registries: dict[str, Registry[Any]] = {}
        self._lock = threading.RLock()  # a hook is collected once, whichever thread needs it first

    def load(self, plugins: Iterable[Plugin]) -> None:
        """Register plugins; those that do not fit are reported and left out."""
        candidates = [plugin for plugin in plugins if self._add_hookspecs(plugin)]
        for plugin in candidates:
            self._register(plugin)

    def registry(self, hook: str) -> Registry[Any]:
        """Everything that plugins provide through `hook`, by name; collected once."""
        with self._lock:
            if hook not in self._registries:
                self._registries[hook] = self._collect(hook)
            return self._registries[hook]

    @property
    def adapters(self) -> Registry[Any]:
        return self.registry("camelid_model_adapters")

    @property
    def converters(self) -> Registry[Any]:
        return self.registry("camelid_checkpoint_converters")

    @property
    def templates(self) -> Registry[Any]:
        return self.registry("camelid_prompt_templates")

    @property
    def datasets(self) -> Registry[Any]:
        return self.registry("camelid_datasets")

    @property
    def readers(self) -> Registry[Any]:
        return self.registry("camelid_readers")

    @property
    def commands(self) -> Registry[Any]:
        return self.registry("camelid_commands")

    @property
    def tasks(self) -> Registry[Any]:
        return self.registry("camelid_tasks")

    @property
    def executors(self) -> Registry[Any]:
        return self.registry("camelid_executors")

    def check(self) -> list[Problem]:
        """Call every hook of every plugin, so that all problems are known."""
        for hook in self.hooks():
            if hook != "camelid_hookspecs":
                self.registry(hook)
        return self.problems

    def hooks(self) -> list[str]:
        return sorted(name for name in vars(self._manager.hook) if name.startswith("camelid_") and self._spec(name))

    def provided_by(self, plugin: str) -> dict[str, list[str]]:
        """What a plugin provides: hook → names."""
        provided = {}
        for hook in self.hooks():
            registry = self.registry(hook) if hook != "camelid_hookspecs" else Registry[Any]("hook specification")
            names = [item.name for item in registry if registry.plugin_of(item.name) == plugin]
            if names:
                provided[hook] = names
        return provided

    def _spec(self, hook: str) -> Any:
        return getattr(self._manager.hook, hook).spec

    def _add_hookspecs(self, plugin: Plugin) -> bool:
        function = getattr(plugin.module, "camelid_hookspecs", None)
        try:
            for path in function() if function else ():
                self._manager.add_hookspecs(importlib.import_module(path))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            self._report(plugin.name, f"its hook specifications failed: {_last_line(error)}", traceback.format_exc())
            return False
        return True

    def _register(self, plugin: Plugin) -> None:
        try:
            self._manager.register(plugin.module, plugin.name)
        except pluggy.PluginValidationError as error:
            if self._manager.is_registered(plugin.module):  # pluggy 1.6 keeps half of it
                self._manager.unregister(plugin.module)
            self._report(plugin.name, f"a hook does not fit its specification: {error}")
            return
        except ValueError:  # pluggy raises it for one module registered twice
            self._report(plugin.name, "another distribution names the same module; uninstall one of them.")
            return
        unknown = [hook for hook in self._hooks_of(plugin) if self._spec(hook) is None]
        if unknown:
            self._manager.unregister(plugin.module)
            suggestion = did_you_mean(unknown[0], self.hooks())
            self._report(plugin.name, f"hook {unknown[0]!r} does not exist.{suggestion} The plugin was left out.")
            return
        self.plugins.append(plugin)

    def _hooks_of(self, plugin: Plugin) -> list[str]:
        callers = self._manager.get_hookcallers(plugin.module) or []
        return [
            caller.name
            for caller in callers
            if not any(impl.optionalhook for impl in caller.get_hookimpls() if impl.plugin is plugin.module)
        ]

    def _collect(self, hook: str) -> Registry[Any]:
        description = _HOOKS.get(hook) or HookDescription(
            hook, hook.removeprefix("camelid_").replace("_", " ").removesuffix("s")
        )
        registry: Registry[Any] = Registry(description.word, description.listing)
        implementations = {impl.plugin_name: impl for impl in getattr(self._manager.hook, hook).get_hookimpls()}
        for plugin in self.plugins:
            if plugin.name in implementations:
                self._collect_from(plugin.name, implementations[plugin.name].function, registry)
        return registry

    def _collect_from(self, plugin: str, function: Any, registry: Registry[Any]) -> None:
        try:
            items = list(function())
        except BaseException as error:  # SystemExit too: a plugin must not end the program
            if isinstance(error, KeyboardInterrupt):
                raise
            self._report(plugin, f"{function.__name__} failed: {_last_line(error)}", traceback.format_exc())
            return
        for item in items:
            if not isinstance(getattr(item, "name", None), str):
                self._report(plugin, f"{function.__name__} gave {item!r}, which has no name.")
                continue
            try:
                registry.add(item, plugin)
            except CamelidError as error:
                self._report(plugin, str(error))

    def _report(self, plugin: str, message: str, detail: str = "") -> None:
        self.problems.append(Problem(plugin, message, detail))


@functools.cache
def load_host() -> Host:
    """The host with every installed plugin, built once per process."""
    host = Host()
    host.load(discover(host.problems))
    return host


def discover(problems: list[Problem]) -> list[Plugin]:
    """Import what the entry points of group `camelid` and `CAMELID_PLUGINS` name: first-party plugins first, then by
    name."""
    found: dict[str, Plugin] = {}
    for entry, distribution, version in sorted(
        [*_entry_points(), *_plugins_from_environment()], key=lambda found: _load_order(found[0].name)
    ):
        owner = _normalized_name(distribution)
        if _normalized_name(entry.name) != owner:
            problems.append(
                Problem(
                    owner,
                    f"its entry point is called {entry.name!r}; it must be called {owner!r}, like the distribution.",
                )
            )
        elif owner not in found:
            plugin = _import(entry, owner, version, problems)
            if plugin is not None:
                found[owner] = plugin
    return list(found.values())


def _entry_points() -> list[tuple[EntryPoint, str, str]]:
    """Half-removed distributions have no name and are skipped."""
    return [
        (entry, dist.name, dist.version)
        for dist in distributions()
        if dist.name
        for entry in dist.entry_points
        if entry.group == ENTRY_POINT_GROUP
    ]


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


def _normalized_name(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _import(entry: EntryPoint, owner: str, version: str, problems: list[Problem]) -> Plugin | None:
    module, error = _import_with_timeout(entry)
    if error is not None:
        problems.append(Problem(owner, *error))
        return None
    api = getattr(module, "CAMELID_API", API_VERSION)
    if api != API_VERSION:
        wanted = API_VERSION
        message = f"it was built for plugin API {api!r}; this Camelid has {wanted}. Install a matching release."
        problems.append(Problem(owner, message))
        return None
    return Plugin(owner, version, module)


def _import_with_timeout(entry: EntryPoint) -> tuple[Any, tuple[str, str] | None]:
    """Import in a thread with a timeout, so that an import that hangs does not hang the program; what it prints goes
    to stderr."""
    result: list[Any] = []
    failure: list[tuple[str, str]] = []

    def run() -> None:
        try:
            result.append(entry.load())
        except BaseException as error:
            failure.append((f"importing {entry.value!r} failed: {_last_line(error)}", traceback.format_exc()))

    thread = threading.Thread(target=run, daemon=True, name=f"import {entry.name}")
    with contextlib.redirect_stdout(sys.stderr):
        thread.start()
        thread.join(IMPORT_TIMEOUT_SECONDS)
    if thread.is_alive():
        return None, (f"importing {entry.value!r} took over {IMPORT_TIMEOUT_SECONDS:g} s and was given up.", "")
    return (None, failure[0]) if failure else (result[0], None)


def _last_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
