"""Names as they are published: without the paths that files have on this machine."""

from __future__ import annotations

from pathlib import PurePath


def shown_name(name: str) -> str:
    """Of a path the last part; any other name as it is."""
    local = PurePath(name).is_absolute() or name.startswith(("~", "."))
    return PurePath(name).name if local else name
