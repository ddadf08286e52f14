"""Plugin of camelid-ui: one command, the hook for tabs, and how a plugin with a tab begins. Imports no gradio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camelid_core.hooks import hookimpl

if TYPE_CHECKING:
    from camelid_core.commands import Command
    from camelid_core.plugin_kit.plugin_kind import PluginKind


@hookimpl
def camelid_hookspecs() -> list[str]:
    return ["camelid_ui.hookspecs"]


@hookimpl
def camelid_plugin_kinds() -> list[PluginKind]:
    from .plugin_kinds import KINDS

    return list(KINDS)


@hookimpl
def camelid_commands() -> list[Command]:
    from camelid_core.commands import Command

    return [Command("ui", "Open the pages in a browser.", "camelid_ui.commands:app")]
