"""Serve's extension points. Each returns a list of objects with a `name`; calls are pure and cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camelid_core.hooks import hookspec

if TYPE_CHECKING:
    from .engine import EngineKind


@hookspec
def camelid_engines() -> list[EngineKind]:
    """Engines that can answer for a model: name, one line of help, where the code lives, and where an engine has
    settings of its own, their class."""
