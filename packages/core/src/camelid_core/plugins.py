"""The plugin host: registers plugins, checks their hooks and collects what they provide into registries.

Knows pluggy and how a plugin can be broken. Knows nothing of what plugins provide.
A broken plugin becomes a `Problem` in the report: never silent, never fatal to the rest.
"""

from __future__ import annotations

import functools
import importlib
import threading
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pluggy

from .errors import CamelidError, did_you_mean
from .plugin_host.discovery import Discovery, Plugin, Problem, discover
from .plugin_host.guarded_call import guarded_call, one_line
from .plugin_host.selection import FIRST_PARTY, PluginSelection
from .registry import Registry

__all__ = [
    "FIRST_PARTY",
    "HookDescription",
    "Host",
    "Note",
    "Plugin",
    "Problem",
    "discover",
    "load_host",
    "loaded_host",
]

HOOK_TIMEOUT_SECONDS = 10.0
SLOW_SECONDS = 1.0
"""An import or a hook that takes longer is reported: whoever starts the program waits for it."""


@dataclass(frozen=True, slots=True)
class Note:
    """What `camelid plugins doctor` says beside problems: `text` is a fact about the thing called `name`, such as why
    another package is not used."""

    name: str
    text: str


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
        HookDescription("camelid_capabilities", "capability", "camelid models families"),
        HookDescription("camelid_prompt_templates", "template", "camelid templates list"),
        HookDescription("camelid_datasets", "dataset", "camelid datasets list"),
        HookDescription("camelid_readers", "reader"),
        HookDescription("camelid_commands", "command", "camelid --help"),
        HookDescription("camelid_compat_commands", "compat command", "camelid compat --help"),
        HookDescription("camelid_tasks", "task"),
        HookDescription("camelid_executors", "executor"),
        HookDescription("camelid_settings", "settings of a plugin", "camelid plugins settings"),
        HookDescription("camelid_notes", "note", "camelid plugins doctor"),
    )
}


class Host:
    """All loaded plugins. `registry(hook)` has what they provide; `problems` what is wrong with any, `warnings` what is
    slow. `excluded` are installed plugins that the option `exclusion` leaves out."""

    def __init__(self) -> None:
        self.plugins: list[Plugin] = []
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.excluded: list[str] = []
        self.exclusion = ""
        self._listener: Callable[[Problem], object] = lambda problem: None
        self._manager = pluggy.PluginManager("camelid")
        self._manager.add_hookspecs(importlib.import_module("camelid_core.hookspecs"))
        self._registries: dict[str, Registry[Any]] = {}
        self._lock = threading.Lock()
        self._collecting: dict[str, threading.RLock] = {}  # one a hook: a hook in its own thread may ask for another's

    def add(self, found: Discovery, exclusion: str = "") -> None:
        """Load what was discovered."""
        self.problems += found.problems
        self.excluded, self.exclusion = list(found.excluded), exclusion
        self.load(found.plugins)

    def load(self, plugins: Iterable[Plugin]) -> None:
        """Register plugins; those that do not fit are reported and left out."""
        candidates = [plugin for plugin in plugins if self._add_hookspecs(plugin)]
        for plugin in candidates:
            self._warn_if_slow(plugin.name, "importing it", plugin.seconds)
            self._register(plugin)

    def announce(self, listener: Callable[[Problem], object]) -> None:
        """Call `listener` with every problem and every warning that is known, and with each that is found later."""
        self._listener = listener
        for problem in (*self.problems, *self.warnings):
            listener(problem)

    def registry(self, hook: str) -> Registry[Any]:
        """Everything that plugins provide through `hook`, by name; collected once."""
        with self._lock:
            lock = self._collecting.setdefault(hook, threading.RLock())
        with lock:  # once, whichever thread needs it first
            if hook not in self._registries:
                self._registries[hook] = self._collect(hook)
            return self._registries[hook]

    def collected(self) -> list[tuple[str, Registry[Any]]]:
        """The registries of all hooks that were asked for so far; calls no plugin."""
        return list(self._registries.items())

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
            names = [name for name in registry.names() if registry.plugin_of(name) == plugin]
            if names:
                provided[hook] = names
        return provided

    def _spec(self, hook: str) -> Any:
        return getattr(self._manager.hook, hook).spec

    def _add_hookspecs(self, plugin: Plugin) -> bool:
        function = getattr(plugin.module, "camelid_hookspecs", None)

        def add_all() -> None:
            for path in function() if function else ():
                self._manager.add_hookspecs(importlib.import_module(path))

        result = guarded_call(add_all, f"hook specifications of {plugin.name}", _timeout_for(plugin.name))
        if result.given_up:
            self._report(plugin.name, f"its hook specifications took over {HOOK_TIMEOUT_SECONDS:g} s.")
        if result.error is not None:
            self._report(plugin.name, f"its hook specifications failed: {result.failure}", result.detail)
        return not (result.given_up or result.error)

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
        registry: Registry[Any] = Registry(description.word, description.listing, lambda: self._missing_from(hook))
        implementations = {impl.plugin_name: impl for impl in getattr(self._manager.hook, hook).get_hookimpls()}
        for plugin in self.plugins:
            if plugin.name in implementations:
                self._collect_from(plugin.name, hook, implementations[plugin.name].function, registry)
        return registry

    def _collect_from(self, plugin: str, hook: str, function: Any, registry: Registry[Any]) -> None:
        timeout = _timeout_for(plugin)
        result = guarded_call(lambda: [_named(item) for item in function()], f"{hook} of {plugin}", timeout)
        if result.given_up:
            self._report(plugin, f"{hook} took over {timeout:g} s and was given up.", hook=hook)
            return
        if result.error is not None:
            self._report(plugin, f"{hook} failed: {result.failure}", result.detail, hook)
            return
        self._warn_if_slow(plugin, hook, result.seconds)
        for item, nameless in result.value:
            if nameless:
                self._report(plugin, f"{hook} gave {nameless}, which has no name.")
                continue
            try:
                registry.add(item, plugin)
            except CamelidError as error:
                self._report(plugin, str(error))

    def _missing_from(self, hook: str) -> str:
        """Why a name may be missing from a registry, as a sentence; empty where every plugin gave what it has."""
        loaded = {plugin.name for plugin in self.plugins}
        failed = [
            f"{problem.plugin}: {problem.message.rstrip('.')}"
            for problem in self.problems
            if problem.plugin not in loaded or problem.hook == hook
        ]
        if failed:
            return f"It may be of a plugin that is broken ({'; '.join(failed)})."
        if self.excluded:
            return f"It may be of a plugin that {self.exclusion} leaves out: {', '.join(self.excluded)}."
        return ""

    def _warn_if_slow(self, plugin: str, what: str, seconds: float) -> None:
        if seconds > SLOW_SECONDS and plugin not in FIRST_PARTY:
            warning = Problem(plugin, f"{what} took {seconds:.1f} s, for which every start waits.")
            self.warnings.append(warning)
            self._listener(warning)

    def report(self, plugin: str, error: BaseException, what: str) -> None:
        """Add the problem that something which a plugin provides failed where others must go on; once."""
        detail = "".join(traceback.format_exception(error))
        self._report(plugin, f"{what} failed: {one_line(error)}", detail)

    def _report(self, plugin: str, message: str, detail: str = "", hook: str = "") -> None:
        problem = Problem(plugin, message, detail, hook)
        if problem not in self.problems:
            self.problems.append(problem)
            self._listener(problem)


def _timeout_for(plugin: str) -> float | None:
    """None for our own packages, whose hooks are called in the same thread."""
    return None if plugin in FIRST_PARTY else HOOK_TIMEOUT_SECONDS


def _named(item: Any) -> tuple[Any, str]:
    """What a hook gave; and, if it has no name, how to show it."""
    return item, "" if isinstance(getattr(item, "name", None), str) else repr(item)


@functools.cache
def load_host() -> Host:
    """The host with every plugin that is installed and chosen, built once per process.

    Raises:
        UnknownName, UsageError: the choice of plugins names one that is not installed, or is two choices at once.
    """
    selection = PluginSelection.from_environment()
    host = Host()
    host.add(discover(selection), selection.option)
    return host


def loaded_host() -> Host | None:
    """The host if it was built in this process already: for code that must not import plugins, such as reports of
    errors."""
    return load_host() if load_host.cache_info().currsize else None
