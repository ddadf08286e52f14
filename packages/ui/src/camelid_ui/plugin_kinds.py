"""The kinds of plugins that the pages have hooks for."""

from __future__ import annotations

from camelid_core.plugin_kit.plugin_kind import PluginKind

from .tab_names import BUILT_IN_TABS

KINDS = (
    PluginKind(
        name="tab",
        help="A tab: a page of the app, after the built-in ones.",
        hook="camelid_tabs",
        skeleton="camelid_ui:skeletons/tab",
        listing="camelid ui",
        needs=("camelid-core", "camelid-ui"),
        reserved=BUILT_IN_TABS,
    ),
)
