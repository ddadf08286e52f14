"""Which plugin an unexpected error came from, by its traceback: jobs, engine processes and pages say so to people.

Knows tracebacks, and what plugins provide. Knows nothing of who reports the error. The author of the innermost code
that is Camelid's or a plugin's counts: a library fails because of who called it.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from types import FrameType
from typing import Any

from .errors import PluginError, shortened
from .plugin_host.guarded_call import one_line
from .plugins import FIRST_PARTY, Host, Plugin, loaded_host
from .tasks import import_attribute


def plugin_fault(error: BaseException, host: Host | None = None) -> PluginError | None:
    """A sentence that names the plugin, its version and the hook, where a plugin's code raised `error`; else None."""
    host = host or loaded_host()
    if host is None:
        return None
    calls = [(frame, line, _owner(_module_of(frame), host)) for frame, line in traceback.walk_tb(error.__traceback__)]
    ours = [(frame, line, owner) for frame, line, owner in calls if owner is not None]
    if not ours:
        return None
    frame, line, plugin = ours[-1]
    if plugin.name in FIRST_PARTY:
        lent = _lent_object(error, frame, host)
        if lent is None:
            return None
        plugin = lent
    frames = [each for each, _, owner in ours if owner is plugin]
    provided = _provided_by_any(frames, plugin, host) or _only_hook(plugin)
    through = f" in {provided}" if provided else ""
    place = f"{_module_of(frame)}, line {line}"
    return PluginError(
        f"plugin {plugin.name} {plugin.version} failed{through}: {shortened(one_line(error))} ({place})."
    )


def error_sentence(error: BaseException) -> str:
    """The error on one line; of a plugin's code, with the plugin's name."""
    return str(plugin_fault(error) or one_line(error))


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _owner(module: str, host: Host) -> Plugin | None:
    """The plugin whose package holds a module."""
    return next((plugin for plugin in host.plugins if _is_inside(module, _package(plugin))), None)


def _package(plugin: Plugin) -> str:
    """The package of the plugin's entry module: all that is inside is the plugin's."""
    name = str(getattr(plugin.module, "__name__", ""))
    return name if hasattr(plugin.module, "__path__") else name.rpartition(".")[0] or name


def _is_inside(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _lent_object(error: BaseException, frame: FrameType, host: Host) -> Plugin | None:
    """The plugin whose object lacks what Camelid asked of it, or whose import path leads nowhere."""
    if frame.f_code is import_attribute.__code__:
        found = _owner(str(frame.f_locals.get("path", "")).partition(":")[0], host)
    elif isinstance(error, AttributeError) and error.obj is not None:
        found = _owner(type(error.obj).__module__, host)
    else:
        found = None
    return None if found is None or found.name in FIRST_PARTY else found


def _provided_by_any(frames: Iterable[FrameType], plugin: Plugin, host: Host) -> str:
    with suppress(Exception):  # what a plugin gave may fail at being looked at, too
        return next(filter(None, (_provided(frame, plugin, host) for frame in frames)), "")
    return ""


def _provided(frame: FrameType, plugin: Plugin, host: Host) -> str:
    """`camelid_exporters 'gptq'`: what the plugin provides whose code a frame runs."""
    if frame.f_code.co_name in host.hooks() and hasattr(plugin.module, frame.f_code.co_name):
        return frame.f_code.co_name
    for hook, registry in host.collected():
        for item in registry:
            if registry.plugin_of(item.name) == plugin.name and any(_runs(frame, part) for part in _parts(item)):
                return f"{hook} {item.name!r}"
    return ""


def _parts(item: Any) -> Iterator[Any]:
    """What was given and, of plain data, the functions and import paths that it names."""
    yield item
    if is_dataclass(item):
        yield from (getattr(item, field.name, None) for field in fields(item))


def _runs(frame: FrameType, part: Any) -> bool:
    if isinstance(part, str):
        return part == f"{_module_of(frame)}:{frame.f_code.co_name}"
    return part is not None and (frame.f_locals.get("self") is part or getattr(part, "__code__", None) is frame.f_code)


def _only_hook(plugin: Plugin) -> str:
    """The hook of a plugin that implements one only."""
    hooks = [
        name for name in dir(plugin.module) if name.startswith("camelid_") and callable(getattr(plugin.module, name))
    ]
    return hooks[0] if len(hooks) == 1 else ""
