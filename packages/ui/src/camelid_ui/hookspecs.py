"""The extension point of the pages: tabs that plugins add after the built-in ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camelid_core.hooks import hookspec

if TYPE_CHECKING:
    from .tabs import Tab


@hookspec
def camelid_tabs() -> list[Tab]:
    """Pages to show after the built-in ones: a name for the address, a label, and `build(services)`, which lays out
    components."""
