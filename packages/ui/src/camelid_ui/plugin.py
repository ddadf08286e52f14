"""Plugin of camelid-ui: one command and the hook for tabs. Imports no gradio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camelid_core.hooks import hookimpl

if TYPE_CHECKING:
    from camelid_core.commands import Command


@hookimpl
def camelid_hookspecs() -> list[str]:
    return ["camelid_ui.hookspecs"]


@hookimpl
def camelid_commands() -> list[Command]:
    from camelid_core.commands import Command

    return [Command("ui", "Open the pages in a browser.", "camelid_ui.commands:app")]
