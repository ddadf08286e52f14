"""The kinds of plugins that the pages have hooks for."""

from __future__ import annotations

from camelid_core.plugin_kit.plugin_kind import PluginKind

KINDS = (
    PluginKind(
        "tab",
        "A tab: a page of the app, after the built-in ones.",
        "camelid_tabs",
        "camelid_ui:skeletons/tab",
        "camelid ui",
        ("camelid-core", "camelid-ui"),
    ),
)
