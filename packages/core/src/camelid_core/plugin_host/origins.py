"""Where a plugin came from: its distribution, where that lies, and whether it is a working copy.

Knows distributions' metadata. Knows nothing of hooks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from .discovery import PLUGINS_VARIABLE, Plugin


@dataclass(frozen=True, slots=True)
class PluginOrigin:
    """`source` is `installed`, `editable` (a working copy, linked), or the environment variable that names copied
    sources; `location` the directory of `entry_point`, the module that was imported."""

    source: str
    location: str
    entry_point: str
    summary: str = ""
    requires: tuple[str, ...] = ()


def origin_of(plugin: Plugin) -> PluginOrigin:
    """Where a loaded plugin came from."""
    module = str(getattr(plugin.module, "__name__", ""))
    file = getattr(plugin.module, "__file__", None)
    location = str(Path(file).parent) if file else ""
    try:
        found = distribution(plugin.name)
    except PackageNotFoundError:
        return PluginOrigin(PLUGINS_VARIABLE if file else "this process", location, module)
    return PluginOrigin(
        source="editable" if _is_editable(found) else "installed",
        location=location,
        entry_point=module,
        summary=str(found.metadata.json.get("summary", "")),
        requires=tuple(found.requires or ()),
    )


def _is_editable(found: Distribution) -> bool:
    """Whether it links to a working copy (PEP 610)."""
    try:
        about: Any = json.loads(found.read_text("direct_url.json") or "{}")
        return bool(about["dir_info"]["editable"])
    except (ValueError, KeyError, TypeError):
        return False
